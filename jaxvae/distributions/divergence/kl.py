"""Kullback-Leibler divergences: closed forms by pair of families, and Monte Carlo for any pair.

A file of this folder holds the closed forms of some families, as functions ``(q, p) -> nats for
each independent factor``, and lists them as ``CLOSED_FORMS``; a new file is named here once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions.base import Distribution
from jaxvae.distributions.divergence import discrete, gaussian

_CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    **gaussian.CLOSED_FORMS,
    **discrete.CLOSED_FORMS,
}


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether ``kl_divergence(q, p)`` exists."""
    return (type(q), type(p)) in _CLOSED_FORMS


def kl_by_factor(q: Distribution, p: Distribution) -> Float[Array, "*factors"]:
    """KL(q || p) in nats for each independent factor of the event; they add up to the divergence.

    Args:
        q: the distribution that the expectation is taken under.
        p: the distribution that is compared with it, over the same events.

    Returns:
        For independent coordinates the event's shape, for Categorical the shape without categories;
        one number, of shape (), where either is a MultivariateNormal or a LowRankNormal, whose
        coordinates depend on one another.

    Raises:
        ValueError: if the pair has no closed form, or the event shapes differ.
    """
    closed_form = _CLOSED_FORMS.get((type(q), type(p)))
    if closed_form is None:
        pairs = ", ".join(f"{a.__name__}||{b.__name__}" for a, b in _CLOSED_FORMS)
        raise ValueError(
            f"KL({type(q).__name__} || {type(p).__name__}) has no closed form here; those that "
            f"exist are {pairs}. Use kl_monte_carlo, or kl=objectives.monte_carlo in a bound"
        )
    _check.event_shape("kl_divergence", q.event_shape, p.event_shape)
    return closed_form(q, p)


def kl_divergence(q: Distribution, p: Distribution) -> Scalar:
    r"""Closed-form $KL(q \| p) = E_q[\log q - \log p]$ in nats.

    Args:
        q: the distribution that the expectation is taken under.
        p: the distribution that is compared with it, over the same events.

    Raises:
        ValueError: if the pair has no closed form, or the event shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, kl_divergence
        >>> float(kl_divergence(Normal(jnp.ones(2), jnp.zeros(2)), Normal.standard((2,))))
        1.0
    """
    return jnp.sum(kl_by_factor(q, p))


def kl_monte_carlo(q: Distribution, p: Distribution, *, key: PRNGKey, num_samples: int) -> Scalar:
    r"""Unbiased estimate $\frac1L\sum_l \log q(z_l) - \log p(z_l)$, $z_l \sim q$, in nats.

    Args:
        q: the distribution that is sampled.
        p: the distribution that is compared with it.
        key: consumed once.
        num_samples: L.
    """
    _check.positive("num_samples", num_samples)

    def log_ratio(key):
        value, log_q = q.sample_and_log_prob(key)
        return log_q - p.log_prob(value)

    return jnp.mean(jax.vmap(log_ratio)(jax.random.split(key, num_samples)))
