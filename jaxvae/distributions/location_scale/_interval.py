r"""A standard Normal variable between two bounds, measured from the point of largest density.

With the distance t from that point, outwards counted positive, the density is in proportion to
$g(t) = e^{-rt - t^2/2}$ on $[-l, h]$ with $r, l, h \ge 0$: r is how far the point lies from the
centre, and l is zero unless r is. Nothing here subtracts two masses that are nearly equal.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxvae.distributions.numerics.edges import inverse_scale

# Bounds are cut where g is e^-80, and each integral at e^-20 of its largest integrand in float32
# and at e^-40 in float64; the numbers of nodes are the least that are exact to rounding there.
_CUT = 80.0


class Interval(NamedTuple):
    """The interval in standard deviations.

    Attributes:
        anchor: the point of largest density.
        sign: the direction of positive t along the axis.
        rate: r.
        below: l, cut where it is far.
        above: h, cut where it is far.
    """

    anchor: Array
    sign: Array
    rate: Array
    below: Array
    above: Array


class Moments(NamedTuple):
    r"""Expectations of t, of its squared deviation, and of $rt + t^2/2$."""

    mean: Array
    variance: Array
    energy: Array


def standardised(loc: Array, log_scale: Array, low: Array, high: Array) -> Interval:
    """The interval of a Normal variable; NaN where the bounds are not in order."""
    # Nothing depends on the choice of the anchor: it carries no derivative, the distances do.
    anchor = lax.stop_gradient(jnp.where(low < high, jnp.clip(loc, low, high), jnp.nan))
    inverse = inverse_scale(log_scale)
    mirrored = loc > high
    sign = jnp.where(mirrored, -jnp.ones_like(loc), jnp.ones_like(loc))
    rate = sign * (anchor - loc) * inverse
    limit = _reach(rate, _CUT)

    def distance(gap):
        far = gap * inverse > limit
        return jnp.where(far, limit, jnp.where(far, 0.0, gap) * inverse)

    to_low, to_high = distance(anchor - low), distance(high - anchor)
    below = jnp.where(mirrored, to_high, to_low)
    return Interval(anchor, sign, rate, below, jnp.where(mirrored, to_low, to_high))


def energy(rate: Array, t: Array) -> Array:
    r"""$-\log g = rt + t^2/2$."""
    return t * (rate + 0.5 * t)


def mass(rate: Array, width: Array) -> Array:
    r"""$\int_0^w g$."""
    return jnp.sum(_rule(rate, width)[1], axis=0)


@jax.custom_jvp
def log_mass(rate: Array, below: Array, above: Array) -> Array:
    r"""$\log\int_{-l}^h g$."""
    return jnp.log(mass(-rate, below) + mass(rate, above))


@log_mass.defjvp
def _log_mass_jvp(primals, tangents):
    rate, below, above = primals
    rate_dot, below_dot, above_dot = tangents
    value = log_mass(rate, below, above)
    ends = jnp.exp(-energy(-rate, below) - value), jnp.exp(-energy(rate, above) - value)
    centre = moments(rate, below, above).mean
    return value, ends[0] * below_dot + ends[1] * above_dot - centre * rate_dot


def moments(rate: Array, below: Array, above: Array) -> Moments:
    """Under the density in proportion to g."""
    left, left_weight = _rule(-rate, below)
    right, right_weight = _rule(rate, above)
    t = jnp.concatenate([-left, right])
    weight = jnp.concatenate([left_weight, right_weight])
    weight = weight / jnp.sum(weight, axis=0)[None]
    mean = jnp.sum(weight * t, axis=0)
    variance = jnp.sum(weight * jnp.square(t - mean[None]), axis=0)
    return Moments(mean, variance, jnp.sum(weight * energy(rate[None], t), axis=0))


def tails(t: Array, rate: Array, below: Array, above: Array) -> tuple[Array, Array]:
    """The probabilities below and above t, both to rounding however small they are."""
    right = t >= 0
    total = mass(-rate, below) + mass(rate, above)
    # Each side is measured from t where it does not hold the anchor, and from the anchor else.
    outward, size = jnp.where(right, rate, -rate), jnp.where(right, t, -t)
    inner, outer = jnp.where(right, below, above), jnp.where(right, above, below)
    size = jnp.minimum(size, outer)
    beyond = jnp.exp(-energy(outward, size)) * mass(outward + size, outer - size) / total
    rest = (mass(-outward, inner) + mass(outward, size)) / total
    return jnp.where(right, rest, beyond), jnp.where(right, beyond, rest)


@jax.custom_jvp
def quantile(lower: Array, upper: Array, rate: Array, below: Array, above: Array) -> Array:
    """The t below which the probability is the first and above which it is the second.

    Both are given, as either may be too small to be one less the other. The derivative is that of
    an implicit function, in the first.
    """
    left_mass, right_mass = mass(-rate, below), mass(rate, above)
    total = left_mass + right_mass
    right = lower * total >= left_mass
    u, rest = _swap(right, lower, upper)
    passed, ahead = _swap(right, left_mass, right_mass)
    width = jnp.where(right, above, below)
    before, beyond = u * total - passed, rest * total
    t = _guess(beyond / ahead, rate, width)
    for _ in range(1 if jnp.finfo(t.dtype).bits <= 32 else 2):
        slope = rate + t
        level = jnp.exp(energy(rate, t))
        near = (before - mass(rate, t)) * level
        far = mass(slope, width - t) - beyond * level
        step = jnp.where(before < beyond, near, far)
        curve = 0.5 * slope * step + (2.0 * slope * slope + 1.0) * step * step / 6.0
        t = jnp.clip(t + step * (1.0 + curve), 0.0, width)
    return jnp.where(right, t, -t)


@quantile.defjvp
def _quantile_jvp(primals, tangents):
    lower, upper, rate, below, above = primals
    lower_dot, _, rate_dot, below_dot, above_dot = tangents
    signed = quantile(*primals)
    right = signed >= 0
    # Mirrored to the right of the anchor; the rate is zero where there is anything to its left.
    sign = jnp.where(right, jnp.ones_like(signed), -jnp.ones_like(signed))
    rate, t = sign * rate, sign * signed
    inner, outer = _swap(right, below, above)
    inner_dot, outer_dot = _swap(right, below_dot, above_dot)
    u, rest = _swap(right, lower, upper)
    slope, level = rate + t, energy(rate, t)
    ahead, ahead_weight = _rule(slope, outer - t)
    back, back_weight = _rule(-rate, inner)
    between, between_weight = _rule(rate, t)
    behind = back_weight * (t[None] + back), between_weight * (t[None] - between)
    spread = u * jnp.sum(ahead * ahead_weight, axis=0)
    spread = spread + rest * jnp.exp(level) * jnp.sum(jnp.concatenate(behind), axis=0)
    total = jnp.exp(log_mass(rate, inner, outer) + level)
    t_dot = (
        u * jnp.exp(-energy(slope, outer - t)) * outer_dot
        - rest * jnp.exp(level - energy(-rate, inner)) * inner_dot
        - spread * sign * rate_dot
        + total * sign * lower_dot
    )
    return signed, sign * t_dot


def _swap(keep: Array, first: Array, second: Array) -> tuple[Array, Array]:
    return jnp.where(keep, first, second), jnp.where(keep, second, first)


def _guess(share: Array, rate: Array, width: Array) -> Array:
    """Beyond which the share of the mass on [0, w] lies, with Boyd's bound on the Mills ratio."""

    def ratio(z):  # within one per cent
        return np.pi / (2.0 * z + jnp.sqrt((np.pi - 2.0) ** 2 * z * z + 2.0 * np.pi))

    def level(t):
        return energy(rate, t) + jnp.log(ratio(rate) / ratio(rate + t))

    end = level(width)
    goal = jnp.minimum(-jnp.log(share + (1.0 - share) * jnp.exp(-end)), end)
    goal = jnp.maximum(goal, 0.0)
    first = 1.0 / ratio(rate)
    t = 2.0 * goal / (first + jnp.sqrt(first * first + 2.0 * goal))
    for _ in range(3):
        t = jnp.clip(t - (level(t) - goal) * ratio(rate + t), 0.0, width)
    return t


def _reach(rate: Array, limit: float) -> Array:
    r"""Where $|r|t + t^2/2$ is the limit."""
    size = jnp.abs(lax.stop_gradient(rate))
    return 2.0 * limit / (size + jnp.hypot(size, jnp.full_like(size, np.sqrt(2.0 * limit))))


def _rule(rate: Array, width: Array) -> tuple[Array, Array]:
    """Nodes on [0, w], along a leading axis, and their weights times g."""
    single = jnp.finfo(width.dtype).bits <= 32
    length = jnp.minimum(width, _reach(rate, 20.0 if single else 40.0))[None]
    shape = (-1, *(1,) * width.ndim)
    at, weight = (jnp.asarray(x, width.dtype).reshape(shape) for x in _gauss(16 if single else 32))
    t = length * at
    return t, length * weight * jnp.exp(-energy(rate[None], t))


@cache
def _gauss(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's rule on [0, 1]."""
    at, weight = np.polynomial.legendre.leggauss(number)
    return 0.5 * (at + 1.0), 0.5 * weight
