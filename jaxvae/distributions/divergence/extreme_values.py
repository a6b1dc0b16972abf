r"""Kullback-Leibler divergences of smallest and largest values: Weibull, Rayleigh and Gumbel.

The logarithm of a Weibull variable is a reflected Gumbel variable, so that one formula serves all.
With $r$ the ratio of p's concentration to q's, $e(\delta) = e^\delta - 1 - \delta$ and Euler's
constant $\gamma$, it is the sum of two terms that are never negative,

$$KL = e\big(\delta + \log\Gamma(1 + r)\big) + \big(\log\Gamma(r) + \gamma(r - 1)\big),$$

the second because $\log\Gamma$ is convex with the slope $-\gamma$ at one.

Reference: Bauckhage (2013), Computing the Kullback-Leibler divergence between two Weibull
distributions; with Gamma: Zhang et al. (2018), WHAI: Weibull hybrid autoencoding inference.
"""

from collections.abc import Callable
from itertools import product

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import zetac

from jaxvae.distributions.composition._log_gamma import excess
from jaxvae.distributions.composition.chi_squared import ChiSquared
from jaxvae.distributions.composition.gamma import Gamma
from jaxvae.distributions.divergence._forms import (
    WEIBULLS,
    as_gamma,
    as_weibull,
    log_ratio,
)
from jaxvae.distributions.inversion.erlang import Erlang
from jaxvae.distributions.inversion.exponential import Exponential
from jaxvae.distributions.inversion.gumbel import Gumbel
from jaxvae.distributions.numerics.edges import inverse_scale
from jaxvae.distributions.numerics.special import (
    HALF_LOG_TWO_PI,
    stirling_remainder,
    stirling_slope,
)

_EULER = float(np.euler_gamma)
_ORDERS = range(18, 1, -1)
_SHAPED = (Gamma, Erlang, ChiSquared)


def log_moment(log_order: Array) -> tuple[Array, Array]:
    r"""$\log\Gamma(1 + r)$, and $\log\Gamma(r) + \gamma(r - 1) \ge 0$, from $\log r$.

    Near $r = 1 + h$ the second is $e(\log r) + \sum_n (-1)^n(\zeta(n) - 1)h^n/n$, about
    $\pi^2h^2/12$, from Abramowitz and Stegun (1964), 6.1.33.
    """
    near = jnp.abs(log_order) < 0.2
    small = jnp.where(near, log_order, 0.0)
    step = jnp.expm1(small)
    series = jnp.zeros_like(step)
    for order in _ORDERS:
        series = series * step + (-1.0) ** order * float(zetac(order)) / order
    near_gap = excess(small) + step * step * series
    near_moment = near_gap - _EULER * step + small
    large = jnp.where(near, 0.0, log_order)
    r = jnp.exp(large)
    log_next = jnp.log1p(r)
    main = r * (log_next - 1.0) + (0.5 * log_next - 1.0)
    far_moment = main + (stirling_remainder(1.0 + r) + HALF_LOG_TWO_PI)
    far_gap = far_moment + _EULER * jnp.expm1(large) - large
    return jnp.where(near, near_moment, far_moment), jnp.where(near, near_gap, far_gap)


def _extreme_extreme(log_order: Array, deviation: Array) -> Array:
    moment, gap = log_moment(log_order)
    return excess(deviation + moment) + gap


def _weibull_weibull(q, p) -> Array:
    r"""$-\log r - \delta + \gamma(r - 1) + e^\delta\,\Gamma(1 + r) - 1$.

    $r = l/k$ and $\delta = l\log\frac st$ for scales $s, t$ and concentrations $k, l$ of q and p:
    Bauckhage (2013).
    """
    first, second = as_weibull(q), as_weibull(p)
    deviation = jnp.exp(second.log_concentration) * log_ratio(first.log_scale, second.log_scale)
    return _extreme_extreme(second.log_concentration - first.log_concentration, deviation)


def _gumbel_gumbel(q: Gumbel, p: Gumbel) -> Array:
    """That of the Weibull variables whose logarithms these are, reflected."""
    deviation = (p.loc - q.loc) * inverse_scale(p.log_scale)
    return _extreme_extreme(q.log_scale - p.log_scale, deviation)


def _weibull_gamma(q, p) -> Array:
    r"""$b(\frac\gamma k - \log rs) + \log k\Gamma(b) + rs\,\Gamma(1 + \frac1k) - \gamma - 1$.

    $s, k$ are the scale and concentration of q, $b, r$ the concentration and rate of p: Zhang et
    al. (2018). Evaluated from the ratio of the means.
    """
    first, second = as_weibull(q), as_gamma(p)
    inverse = jnp.exp(-first.log_concentration)
    gap = log_moment(jnp.log1p(inverse))[1]
    log_mean = (*first.log_scale, gap - _EULER * inverse)
    spread = excess(log_ratio(log_mean, second.log_mean)) + gap
    constant = HALF_LOG_TWO_PI - (1.0 + _EULER)
    logs = first.log_concentration - 0.5 * second.log_concentration
    remainder = stirling_remainder(second.concentration)
    return second.concentration * spread + (logs + remainder + constant)


def _gamma_weibull(q, p) -> Array:
    r"""By the mean of $\log x$, $\psi(a) - \log r$, and of $x^k$, $\Gamma(a + k)/\Gamma(a)r^k$.

    $KL = -H(q) - \log k + k\log s - (k - 1)E\log x + s^{-k}E x^k$ with the concentration and rate
    $a, r$ of q and the concentration and scale $k, s$ of p. The logarithm of the last term is
    formed from $\log\Gamma(a + k) - \log\Gamma(a) - k\log a$, which vanishes as $a$ grows.
    """
    first, second = as_gamma(q), as_weibull(p)
    a, k = first.concentration, jnp.exp(second.log_concentration)
    log_growth = jnp.log1p(k / a)
    remainders = stirling_remainder(a + k) - stirling_remainder(a)
    ratio = (a + k) * excess(-log_growth) - 0.5 * log_growth + remainders
    log_power = k * log_ratio(first.log_mean, second.log_scale) + ratio
    # log a - psi(a), which is how far the mean of the logarithm is below that of the mean.
    below = 0.5 / a - stirling_slope(a)
    logs = 0.5 * first.log_concentration - second.log_concentration - stirling_remainder(a)
    return excess(log_power) + (k - a) * below + ratio + (logs + (1.0 - HALF_LOG_TWO_PI))


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    **dict.fromkeys(product(WEIBULLS, (*WEIBULLS, Exponential)), _weibull_weibull),
    **dict.fromkeys(product([Exponential], WEIBULLS), _weibull_weibull),
    **dict.fromkeys(product(WEIBULLS, _SHAPED), _weibull_gamma),
    **dict.fromkeys(product(_SHAPED, WEIBULLS), _gamma_weibull),
    (Gumbel, Gumbel): _gumbel_gumbel,
}
