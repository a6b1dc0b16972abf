r"""Kullback-Leibler divergences of variables whose logarithms are simpler: log-Normal, reciprocal.

A divergence does not change when both variables are replaced by their logarithms, which are
Normal, uniform, Gumbel (reflected) and log-Gamma variables here. Formulas are written with
$e(\delta) = e^\delta - 1 - \delta$, which is never negative.

Reference: Kullback and Leibler (1951), On information and sufficiency, theorem 4.1, for the
invariance; each divergence follows from moments of $x$ and $\log x$.
"""

from collections.abc import Callable
from itertools import product

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.distributions.composition._log_gamma import excess
from jaxvae.distributions.composition.log_normal import LogNormal
from jaxvae.distributions.divergence._forms import (
    GAMMAS,
    WEIBULLS,
    as_gamma,
    as_weibull,
    log_ratio,
)
from jaxvae.distributions.divergence.bounded import uniform_uniform
from jaxvae.distributions.divergence.location_scale import (
    by_moments,
    gumbel_normal,
    normal_gumbel,
    uniform_normal,
)
from jaxvae.distributions.inversion.gumbel import Gumbel
from jaxvae.distributions.inversion.reciprocal import Reciprocal
from jaxvae.distributions.location_scale.normal import Normal
from jaxvae.distributions.location_scale.uniform import Uniform
from jaxvae.distributions.numerics.special import stirling_remainder, stirling_slope


def _normal(q: LogNormal) -> Normal:
    """The distribution of the logarithm."""
    return Normal(q.loc, q.log_scale)


def _reflected(q: LogNormal) -> Normal:
    """The distribution of minus the logarithm."""
    return Normal(-q.loc, q.log_scale)


def _gumbel(q) -> Gumbel:
    """The distribution of minus the logarithm of a Weibull variable."""
    form = as_weibull(q)
    return Gumbel(-log_ratio(form.log_scale, ()), -form.log_concentration)


def _uniform(q: Reciprocal) -> Uniform:
    """The distribution of the logarithm."""
    return Uniform(q.log_low, q.log_width)


def _log_normal_log_normal(q: LogNormal, p: LogNormal) -> Array:
    """That of the Normals."""
    return by_moments(q.loc - p.loc, q.log_scale, 0.0, _normal(p))


def _log_normal_gamma(q: LogNormal, p) -> Array:
    r"""$b\,e(\delta) + \frac12 e(\log b\sigma^2) + R(b)$: three terms that are not negative.

    $\delta$ is the logarithm of the ratio of the means, $b$ the concentration of p and R the
    remainder of Stirling's formula.
    """
    form = as_gamma(p)
    log_mean = (q.loc, 0.5 * jnp.exp(2.0 * q.log_scale))
    spread = excess(form.log_concentration + 2.0 * q.log_scale)
    shape = 0.5 * spread + stirling_remainder(form.concentration)
    return form.concentration * excess(log_ratio(log_mean, form.log_mean)) + shape


def _gamma_log_normal(q, p: LogNormal) -> Array:
    r"""By the mean $\psi(a) - \log r$ and the variance $\psi'(a)$ of $\log x$."""
    form = as_gamma(q)
    a = form.concentration
    slope, curvature = jax.jvp(stirling_slope, (a,), (jnp.ones_like(a),))
    mean_gap = log_ratio(form.log_mean, (p.loc, 0.5 / a - slope))
    # a psi'(a), less one.
    surplus = jnp.log1p(0.5 / a + a * curvature)
    negentropy = 0.5 * surplus + a * slope - stirling_remainder(a)
    log_std = 0.5 * (surplus - form.log_concentration)
    return by_moments(mean_gap, log_std, negentropy, _normal(p))


def _weibull_log_normal(q, p: LogNormal) -> Array:
    """That of a Gumbel variable and a Normal."""
    return gumbel_normal(_gumbel(q), _reflected(p))


def _log_normal_weibull(q: LogNormal, p) -> Array:
    """That of a Normal and a Gumbel variable."""
    return normal_gumbel(_reflected(q), _gumbel(p))


def _reciprocal_reciprocal(q: Reciprocal, p: Reciprocal) -> Array:
    """That of the uniform variables."""
    return uniform_uniform(_uniform(q), _uniform(p))


def _reciprocal_log_normal(q: Reciprocal, p: LogNormal) -> Array:
    """That of a uniform variable and a Normal."""
    return uniform_normal(_uniform(q), _normal(p))


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    (LogNormal, LogNormal): _log_normal_log_normal,
    **dict.fromkeys(product([LogNormal], GAMMAS), _log_normal_gamma),
    **dict.fromkeys(product(GAMMAS, [LogNormal]), _gamma_log_normal),
    **dict.fromkeys(product(WEIBULLS, [LogNormal]), _weibull_log_normal),
    **dict.fromkeys(product([LogNormal], WEIBULLS), _log_normal_weibull),
    (Reciprocal, Reciprocal): _reciprocal_reciprocal,
    (Reciprocal, LogNormal): _reciprocal_log_normal,
}
