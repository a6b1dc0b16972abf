"""Kullback-Leibler divergences: closed forms by pair of families, and Monte Carlo for any pair.

A file of this folder holds the closed forms of some families, as functions ``(q, p) -> nats for
each independent factor``, and lists them as ``CLOSED_FORMS``; a new file is named here once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions.base import Distribution
from jaxvae.distributions.divergence import (
    bounded,
    combined,
    discrete,
    extreme_values,
    gamma,
    gaussian,
    location_scale,
    logarithms,
    moments,
)

_CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    **gaussian.CLOSED_FORMS,
    **location_scale.CLOSED_FORMS,
    **gamma.CLOSED_FORMS,
    **extreme_values.CLOSED_FORMS,
    **logarithms.CLOSED_FORMS,
    **moments.CLOSED_FORMS,
    **bounded.CLOSED_FORMS,
    **discrete.CLOSED_FORMS,
}


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether ``kl_divergence(q, p)`` exists; for combinators, whether those of all parts do."""
    return _without_closed_form(q, p) is None


def kl_by_factor(q: Distribution, p: Distribution) -> Float[Array, "*factors"]:
    """KL(q || p) in nats for each independent factor of the event; they add up to the divergence.

    Args:
        q: the distribution that the expectation is taken under.
        p: the distribution that is compared with it, over the same events.

    Returns:
        For independent coordinates the event's shape, for Categorical and Dirichlet the shape
        without the last axis, for Product the factors of all parts in one row; one number, of
        shape (), for vectors whose coordinates depend on one another and for Joint.

    Raises:
        ValueError: if the pair has no closed form, or the event shapes differ.
    """
    missing = _without_closed_form(q, p)
    if missing is not None:
        raise ValueError(_explanation(*missing))
    if isinstance(q, combined.COMBINATORS):
        return combined.by_factor(q, p, kl_by_factor)
    _check.event_shape("kl_divergence", q.event_shape, p.event_shape)
    return _CLOSED_FORMS[type(q), type(p)](q, p)


def _without_closed_form(q: Any, p: Any, where: str = "") -> tuple[Any, Any, str] | None:
    """The first pair of parts without a closed form and where it is, or None."""
    if type(q) is not type(p) or not isinstance(q, combined.COMBINATORS):
        return None if (type(q), type(p)) in _CLOSED_FORMS else (q, p, where)
    pairs = combined.parts(q, p).items()
    found = (_without_closed_form(*pair, f"{where}.{name}") for name, pair in pairs)
    return next((missing for missing in found if missing), None)


def _explanation(q: Any, p: Any, where: str) -> str:
    """What is missing, what exists from the same q and to the same p, then the rest."""
    families: dict[str, list[str]] = {}
    for first, second in _CLOSED_FORMS:
        families.setdefault(first.__name__, []).append(second.__name__)
    name, other = type(q).__name__, type(p).__name__
    own = families.pop(name, [])
    rows = [f"from {name} there are {', '.join(own) if own else 'none'}"]
    rows += (
        [f"to {other} there are " + ", ".join(sources)]
        if (sources := [first for first, seconds in families.items() if other in seconds])
        else []
    )
    rows += [f"from {first} to {', '.join(seconds)}" for first, seconds in families.items()]
    place = f" (q{where} and p{where})" if where else ""
    return (
        f"KL({name} || {other}){place} has no closed form here. Use kl_monte_carlo, or "
        "kl=objectives.monte_carlo in a bound. Closed forms that exist:\n  " + "\n  ".join(rows)
    )


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

    The gradient is that of the samples' log-ratios: where q is not reparameterised, that of a fixed
    set of samples, whose mean is zero in q's parameters whatever the divergence does. Use the
    score function there, as ``objectives.score_function`` does.

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
