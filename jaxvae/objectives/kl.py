r"""Ways to estimate $KL(q \| p)$ inside a bound: functions of q, p, one $z \sim q$ and log q(z).

Passing one of them as ``kl=`` is the choice; none falls back on another silently.
"""

from typing import Any, Protocol, runtime_checkable

from jaxvae._types import Scalar
from jaxvae.distributions import Distribution, has_closed_form, kl_divergence


@runtime_checkable
class KLEstimator(Protocol):
    """``(q, p, z, log_q) -> nats``, unbiased for KL(q || p) when z is drawn from q."""

    def __call__(self, q: Distribution, p: Distribution, z: Any, log_q: Scalar) -> Scalar:
        """Estimate the divergence from one sample."""
        ...


def in_closed_form(kl: KLEstimator, q: Distribution, p: Distribution) -> bool:
    """Whether the choice ``kl`` is a closed form for this pair and needs no sample."""
    return kl is analytic or (kl is analytic_where_available and has_closed_form(q, p))


def analytic(q: Distribution, p: Distribution, z: Any, log_q: Scalar) -> Scalar:
    """The closed form; raises ValueError where the pair has none."""
    del z, log_q
    return kl_divergence(q, p)


def monte_carlo(q: Distribution, p: Distribution, z: Any, log_q: Scalar) -> Scalar:
    """The log-ratio of q to p at z: with the exact posterior the bound has zero variance."""
    del q
    return log_q - p.log_prob(z)


def analytic_where_available(q: Distribution, p: Distribution, z: Any, log_q: Scalar) -> Scalar:
    """The closed form where the pair has one, the Monte Carlo estimate elsewhere."""
    estimator = analytic if has_closed_form(q, p) else monte_carlo
    return estimator(q, p, z, log_q)


def analytic_entropy(q: Distribution, p: Distribution, z: Any, log_q: Scalar) -> Scalar:
    """-H(q) - log p(z): closed-form entropy, sampled cross-entropy.

    Raises:
        ValueError: if q has no closed-form entropy.
    """
    del log_q
    entropy = getattr(q, "entropy", None)
    if entropy is None:
        raise ValueError(
            f"kl=analytic_entropy expected a q with a closed-form entropy, got "
            f"{type(q).__name__}; use kl=monte_carlo"
        )
    return -entropy() - p.log_prob(z)
