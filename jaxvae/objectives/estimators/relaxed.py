"""Estimators that put a continuous variable in the place of a discrete one; all are biased."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import Bernoulli, Categorical, RelaxedBernoulli, RelaxedCategorical
from jaxvae.objectives.estimators.draws import Draws, each, repeat, sampled


def gumbel_softmax(q: Any, *, key: PRNGKey, num_samples: int, temperature: float | Scalar) -> Draws:
    r"""The pathwise gradient of the Concrete distribution at temperature $\tau$ in the place of q.

    The surrogate is that of the relaxed model: a sampled KL compares Concrete densities of q and
    of the prior at the same temperature, a closed-form KL that of the discrete ones. The bound is
    computed at the hard events, the largest entries of the same draws. Bias vanishes and variance
    grows as $\tau \to 0$.

    Raises:
        ValueError: if q, or the prior of a sampled KL, is neither Categorical nor Bernoulli, or the
            temperature is known not to be positive.

    Reference: Maddison, Mnih and Teh (2017); Jang, Gu and Poole (2017).
    """
    relaxed = _relax("gumbel_softmax", q, temperature)
    z = repeat(relaxed.sample, key, num_samples)
    # At the same rounded z as the prior's density, so that what both have in common cancels.
    log_q = each(relaxed.log_prob, z)

    def relax_prior(p):
        return _relax("gumbel_softmax", p, temperature)

    return sampled(z, log_q, hard=each(relaxed.hard, z), is_relaxed=True, relax_prior=relax_prior)


def straight_through(
    q: Any, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
) -> Draws:
    r"""Hard samples whose gradient is that of the mean of q.

    Unbiased where f is linear in z, biased elsewhere.

    Raises:
        ValueError: if q is neither Categorical nor Bernoulli.

    Reference: Bengio, Leonard and Courville (2013).
    """
    del temperature
    _check_discrete("straight_through", q)

    def draw(key):
        z = lax.stop_gradient(q.sample(key)) + (q.mean - lax.stop_gradient(q.mean))
        return z, q.log_prob(z)

    return sampled(*repeat(draw, key, num_samples))


def straight_through_gumbel(
    q: Any, *, key: PRNGKey, num_samples: int, temperature: float | Scalar
) -> Draws:
    r"""Hard samples whose gradient is that of the Concrete sample they were rounded from.

    Raises:
        ValueError: if q is neither Categorical nor Bernoulli, or the temperature is known not to
            be positive.

    Reference: Jang, Gu and Poole (2017), section 2.2.
    """
    relaxed = _relax("straight_through_gumbel", q, temperature)

    def draw(key):
        soft = relaxed.sample(key)
        z = lax.stop_gradient(relaxed.hard(soft)) + (soft - lax.stop_gradient(soft))
        return z, q.log_prob(z)

    return sampled(*repeat(draw, key, num_samples))


def _check_discrete(owner: str, q: Any) -> None:
    if not isinstance(q, (Bernoulli, Categorical)):
        raise ValueError(
            f"{owner} expected a Categorical or a Bernoulli, got {type(q).__name__}; use "
            "by_factor for the discrete part of a Joint or Product"
        )


def _relax(owner: str, q: Any, temperature: float | Scalar) -> Any:
    _check_discrete(owner, q)
    if not isinstance(temperature, Tracer) and not temperature > 0.0:
        raise ValueError(
            f"{owner} expected a positive temperature, got {temperature}; 0.5 is the default"
        )
    log_temperature = jnp.log(jnp.asarray(temperature, q.logits.dtype))
    family = RelaxedBernoulli if isinstance(q, Bernoulli) else RelaxedCategorical
    return family(q.logits, log_temperature)
