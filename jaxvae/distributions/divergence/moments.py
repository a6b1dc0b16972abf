r"""Kullback-Leibler divergences from distributions of known mean, variance and entropy to Normals.

Reference: Cover and Thomas (2006), theorem 8.6.5; ``by_moments`` has the formula.
"""

from collections.abc import Callable
from itertools import product

import jax.numpy as jnp
from jax import Array

from jaxvae.distributions.composition._log_gamma import gamma_entropy
from jaxvae.distributions.composition.beta import Beta
from jaxvae.distributions.composition.log_normal import LogNormal
from jaxvae.distributions.divergence._forms import (
    GAMMAS,
    WEIBULLS,
    as_gamma,
    as_weibull,
    log_ratio,
)
from jaxvae.distributions.divergence.location_scale import NORMAL_ENTROPY, by_moments
from jaxvae.distributions.inversion.weibull import Weibull
from jaxvae.distributions.location_scale.normal import Normal
from jaxvae.distributions.location_scale.truncated_normal import TruncatedNormal


def _of_moments(q: Beta | TruncatedNormal, p: Normal) -> Array:
    """From the properties of the distribution itself."""
    log_std = 0.5 * jnp.log(q.variance)
    negentropy = log_std + NORMAL_ENTROPY - q.entropy_by_factor()
    return by_moments(q.mean - p.loc, log_std, negentropy, p)


def _gamma_normal(q, p: Normal) -> Array:
    r"""Mean $a/r$, variance $a/r^2$; the negentropy depends on $a$ alone."""
    form = as_gamma(q)
    log_mean = log_ratio(form.log_mean, ())
    half = 0.5 * form.log_concentration
    negentropy = half + NORMAL_ENTROPY - gamma_entropy(form.log_concentration)
    return by_moments(jnp.exp(log_mean) - p.loc, log_mean - half, negentropy, p)


def _weibull_normal(q, p: Normal) -> Array:
    """The moments of unit scale, of which the negentropy is that of any other."""
    form = as_weibull(q)
    log_scale = log_ratio(form.log_scale, ())
    unit = Weibull(jnp.zeros_like(log_scale), form.log_concentration)
    log_std = 0.5 * jnp.log(unit.variance)
    negentropy = log_std + NORMAL_ENTROPY - unit.entropy_by_factor()
    mean_gap = unit.mean * jnp.exp(log_scale) - p.loc
    return by_moments(mean_gap, log_scale + log_std, negentropy, p)


def _log_normal_normal(q: LogNormal, p: Normal) -> Array:
    r"""Mean $e^{\mu + s/2}$, variance $e^{2\mu + s}(e^s - 1)$ with $s = \sigma^2$."""
    square = jnp.exp(2.0 * q.log_scale)
    # (1 - exp(-s))/s, which is one where the square has vanished.
    safe = jnp.maximum(square, float(jnp.finfo(square.dtype).tiny))
    negentropy = square + 0.5 * jnp.log(-jnp.expm1(-safe) / safe)
    mean_gap = jnp.exp(q.loc + 0.5 * square) - p.loc
    return by_moments(mean_gap, q.loc + q.log_scale + negentropy, negentropy, p)


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    **dict.fromkeys(product(GAMMAS, [Normal]), _gamma_normal),
    **dict.fromkeys(product(WEIBULLS, [Normal]), _weibull_normal),
    **dict.fromkeys(product([Beta, TruncatedNormal], [Normal]), _of_moments),
    (LogNormal, Normal): _log_normal_normal,
}
