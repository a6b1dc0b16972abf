r"""Ways to estimate $KL(q \| p)$ inside a bound: functions of q, p and one draw $z \sim q$.

Passing one of them as ``kl=`` is the choice; none falls back on another silently.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxvae._types import PyTree, Scalar
from jaxvae.distributions import Distribution, Transformed, has_closed_form, kl_divergence


class Draw(NamedTuple):
    """One draw from q.

    Attributes:
        z: the event.
        log_q: its log-density under q.
        base: for a flow, what it made z of; None elsewhere.
    """

    z: Any
    log_q: Scalar
    base: PyTree = None


@runtime_checkable
class KLEstimator(Protocol):
    """``(q, p, draw) -> nats``, unbiased for KL(q || p) when the draw is from q."""

    def __call__(self, q: Distribution, p: Distribution, draw: Draw) -> Scalar:
        """Estimate the divergence from one draw."""
        ...


def in_closed_form(kl: KLEstimator, q: Distribution, p: Distribution) -> bool:
    """Whether the choice ``kl`` is a closed form for this pair and needs no sample."""
    return kl is analytic or (kl is analytic_where_available and has_closed_form(q, p))


def analytic(q: Distribution, p: Distribution, draw: Draw) -> Scalar:
    """The closed form; raises ValueError where the pair has none."""
    del draw
    return kl_divergence(q, p)


def monte_carlo(q: Distribution, p: Distribution, draw: Draw) -> Scalar:
    """The log-ratio of q to p at z: with the exact posterior the bound has zero variance."""
    del q
    return draw.log_q - p.log_prob(draw.z)


def analytic_where_available(q: Distribution, p: Distribution, draw: Draw) -> Scalar:
    """The closed form where the pair has one, the Monte Carlo estimate elsewhere."""
    estimator = analytic if has_closed_form(q, p) else monte_carlo
    return estimator(q, p, draw)


def analytic_entropy(q: Distribution, p: Distribution, draw: Draw) -> Scalar:
    """-H(q) - log p(z): closed-form entropy, sampled cross-entropy.

    Raises:
        ValueError: if q has no closed-form entropy.
    """
    entropy = getattr(q, "entropy", None)
    if entropy is None:
        raise ValueError(
            f"kl=analytic_entropy expected a q with a closed-form entropy, got "
            f"{type(q).__name__}; use kl=monte_carlo"
        )
    return -entropy() - p.log_prob(draw.z)


def analytic_base(q: Distribution, p: Distribution, draw: Draw) -> Scalar:
    r"""The closed form of a flow's base, and a sample of what the flow adds to it.

    $$KL(q_0 \| p) + \log p(z_0) - \log p(z) - \log|\det\partial z/\partial z_0|$$

    with $z_0$ from the base $q_0$. Near the identity the sampled part is small: latents that the
    model does not use add no noise to the gradient, where ``monte_carlo`` has that of each.

    Raises:
        ValueError: if q is no flow drawn by a pathwise estimator, or its base has no closed form.
    """
    if not isinstance(q, Transformed) or draw.base is None:
        raise ValueError(
            f"kl=analytic_base expected a Transformed drawn by gradient=pathwise, got "
            f"{type(q).__name__}; use kl=analytic or monte_carlo"
        )
    of_base = q.base.log_prob(draw.base) - p.log_prob(draw.base)
    return kl_divergence(q.base, p) + (monte_carlo(q, p, draw) - of_base)
