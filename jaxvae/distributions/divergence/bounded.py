r"""Kullback-Leibler divergences where supports matter, and towards simple log-densities.

q must have no mass where p has none; elsewhere the divergence is infinite, with a gradient of
zero. Towards a uniform, exponential or Laplace p the log-density needs no more of q than its
entropy and the mean of $x$ or $|x - \mu|$.

Reference: Cover and Thomas (2006), section 8.5, for infinite divergences, and theorem 12.1.1,
for log-densities that are linear in a moment.
"""

import math
from collections.abc import Callable
from itertools import product

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.distributions.composition._log_gamma import excess
from jaxvae.distributions.composition.beta import Beta
from jaxvae.distributions.composition.f import F
from jaxvae.distributions.inversion.exponential import Exponential
from jaxvae.distributions.inversion.gompertz import Gompertz
from jaxvae.distributions.inversion.logistic import Logistic
from jaxvae.distributions.inversion.pareto import Pareto
from jaxvae.distributions.inversion.reciprocal import Reciprocal
from jaxvae.distributions.location_scale.laplace import Laplace
from jaxvae.distributions.location_scale.normal import Normal
from jaxvae.distributions.location_scale.triangular import Triangular
from jaxvae.distributions.location_scale.uniform import Uniform
from jaxvae.distributions.numerics.edges import inverse_scale, steps
from jaxvae.distributions.numerics.special import HALF_LOG_TWO_PI

_LOG_TWO = math.log(2.0)


def _where_covered(covered: Array, divergence: Array) -> Array:
    return jnp.where(covered, divergence, jnp.inf)


def _within(low: Array, high: Array, p: Uniform) -> Array:
    """Whether p covers an interval; its upper bound is known to a few roundings."""
    return (low >= p.low) & (high <= p.high + p.rounding)


def uniform_uniform(q: Uniform, p: Uniform) -> Array:
    r"""$\log(w_p/w_q)$ if p covers q, else infinite."""
    covered = _within(q.low, q.high - q.rounding, p)
    return _where_covered(covered, p.log_width - q.log_width)


def _triangular_uniform(q: Triangular, p: Uniform) -> Array:
    r"""$\log(w_p/w_q) + \log 2 - \frac12$ if p covers q, else infinite."""
    return uniform_uniform(Uniform(q.low, q.log_width), p) + (_LOG_TWO - 0.5)


def _beta_uniform(q: Beta, p: Uniform) -> Array:
    r"""$\log w - H(q)$ if p covers the unit interval, else infinite."""
    zero = jnp.zeros_like(p.low)
    covered = _within(zero, zero + 1.0, p)
    return _where_covered(covered, p.log_width - q.entropy_by_factor())


def _reciprocal_uniform(q: Reciprocal, p: Uniform) -> Array:
    r"""$\log w - H(q)$ if p covers q, else infinite."""
    (low, high), (of_low, of_high) = q.bounds, q.roundings
    covered = _within(low + of_low, high - of_high, p)
    return _where_covered(covered, p.log_width - q.entropy_by_factor())


def _pareto_pareto(q: Pareto, p: Pareto) -> Array:
    r"""$\log\frac ab + \frac ba - 1 + b\log\frac mn$ for minima $m \ge n$, else infinite.

    $a$ and $b$ are the concentrations; $\log x$ is a shifted exponential variable.
    """
    log_ratio = q.log_scale - p.log_scale
    covered = log_ratio >= 0
    of_minima = jnp.exp(p.log_concentration) * jnp.where(covered, log_ratio, 0.0)
    of_shapes = excess(p.log_concentration - q.log_concentration)
    return _where_covered(covered, of_shapes + of_minima)


def _positive_exponential(q, p: Exponential) -> Array:
    r"""$\lambda E_q[x] - \log\lambda - H(q)$."""
    return q.mean * jnp.exp(p.log_rate) - p.log_rate - q.entropy_by_factor()


def _bounded_exponential(q: Uniform | Triangular, p: Exponential) -> Array:
    """The same if q has no mass below zero, else infinite."""
    return _where_covered(q.low >= 0, _positive_exponential(q, p))


def _normal_laplace(q: Normal, p: Laplace) -> Array:
    r"""$\log\frac{2s}\sigma - \frac12\log 2\pi e + \frac\sigma s f(t)$ with $t = |m - \mu|/\sigma$.

    $f(t) = \sqrt{2/\pi}\,e^{-t^2/2} + t\,\mathrm{erf}(t/\sqrt 2)$ is the mean of a folded Normal:
    Leone, Nelson and Nottingham (1961).
    """
    log_ratio = q.log_scale - p.log_scale
    distance = jnp.abs(q.loc - p.loc)
    # Beyond forty standard deviations the Normal is a point.
    t = steps(distance, q.log_scale, 40.0)
    near = jnp.exp(log_ratio) * (math.sqrt(2.0 / math.pi) * jnp.exp(-0.5 * t * t))
    far = distance * inverse_scale(p.log_scale) * jax.lax.erf(t * math.sqrt(0.5))
    return near + far - log_ratio + (_LOG_TWO - HALF_LOG_TWO_PI - 0.5)


def _logistic_laplace(q: Logistic, p: Laplace) -> Array:
    r"""$\log\frac{2s}r - 2 + \frac rs(t + 2\log(1 + e^{-t}))$ with $t = |m - \mu|/r$.

    The mean distance is the integral of $2F - 1 = \tanh\frac x2$.
    """
    log_ratio = q.log_scale - p.log_scale
    distance = jnp.abs(q.loc - p.loc)
    t = steps(distance, q.log_scale, 100.0)
    near = jnp.exp(log_ratio) * (2.0 * jnp.log1p(jnp.exp(-t)))
    return near + distance * inverse_scale(p.log_scale) - log_ratio + (_LOG_TWO - 2.0)


def _uniform_laplace(q: Uniform, p: Laplace) -> Array:
    r"""$\log\frac{2s}w + \frac ds$ with the mean distance $d$ from the centre of p.

    It is the distance of the centres or, if p's is within q, $w/4$ and its square over $w$.
    """
    half = 0.5 * jnp.exp(q.log_width)
    distance = jnp.abs((q.low - p.loc) + half)
    share = jnp.minimum(distance / half, 1.0)
    missing = 0.5 * (1.0 - share) ** 2
    mean_distance = (distance + half * missing) * inverse_scale(p.log_scale)
    return mean_distance + (p.log_scale - q.log_width) + _LOG_TWO


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    (Uniform, Uniform): uniform_uniform,
    (Triangular, Uniform): _triangular_uniform,
    (Beta, Uniform): _beta_uniform,
    (Reciprocal, Uniform): _reciprocal_uniform,
    (Pareto, Pareto): _pareto_pareto,
    **dict.fromkeys(product((Uniform, Triangular), (Exponential,)), _bounded_exponential),
    **dict.fromkeys(
        product((Reciprocal, Pareto, Gompertz, Beta, F), (Exponential,)), _positive_exponential
    ),
    (Normal, Laplace): _normal_laplace,
    (Logistic, Laplace): _logistic_laplace,
    (Uniform, Laplace): _uniform_laplace,
}
