"""Arithmetic at the edges: values outside the support, scales without an inverse, huge numbers."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def log_zero(value: Array) -> Array:
    """Log-density beside the support: minus infinity, but NaN for what is not a number."""
    return jnp.where(jnp.isnan(value), jnp.nan, -jnp.inf)


def unless_nan(value: Array, result: Array) -> Array:
    """The result, or NaN for what is not a number."""
    return jnp.where(jnp.isnan(value), jnp.nan, result)


def few_roundings(size: Array) -> Array:
    """How far off a number may be that sums, logarithms and exponentials of this size led to.

    A bound that a distribution computes from its parameters may be off by this much from the one
    that the distribution was made from, which has to count as inside.
    """
    return 4.0 * float(jnp.finfo(size.dtype).eps) * jnp.abs(size)


def on_finite(log_density: Callable[[Array], Array], value: Array, inside: Array) -> Array:
    """Log-density of a vector; minus infinity or NaN where entries are infinite or NaN.

    Args:
        log_density: of vectors of finite entries.
        value: the vector.
        inside: any point of the support, evaluated in the place of an infinite one, so that no
            gradient is NaN.
    """
    finite = jnp.all(jnp.isfinite(value))
    at_value = log_density(jnp.where(finite, value, inside))
    return jnp.where(finite, at_value, jnp.sum(log_zero(value)))


def least_log_scale(dtype: Any) -> float:
    """Logarithm of the smallest scale that has an inverse: -87 in float32, -708 in float64."""
    return float(math.ceil(math.log(float(jnp.finfo(dtype).tiny))))


def inverse_scale(log_scale: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """One over a scale, which below ``least_log_scale`` counts as that.

    An infinite inverse would make a deviation of zero, and its derivatives, NaN.
    """
    return jnp.exp(-jnp.maximum(log_scale, least_log_scale(log_scale.dtype)))


def steps(
    distance: Float[Array, "*event"], log_scale: Float[Array, "*event"], most: float
) -> Float[Array, "*event"]:
    """A distance in units of a scale, at most a given number, also where the ratio overflows."""
    far = distance > most * jnp.exp(log_scale)
    near = jnp.where(far, 0.0, distance) * inverse_scale(log_scale)
    return jnp.where(far, most, near)


def log_ratio(
    value: Float[Array, "*event"], log_scale: Float[Array, "*event"]
) -> Float[Array, "*event"]:
    r"""$\log x - \log s$ for $x > 0$.

    Near one the ratio is formed first: the difference of two large logarithms has lost its digits.
    """
    difference = jnp.log(value) - log_scale
    near = jnp.abs(difference) < 1.0
    ratio = jnp.where(near, value, 1.0) * jnp.exp(-jnp.where(near, log_scale, 0.0))
    return jnp.where(near, jnp.log(ratio), difference)


def log1p_square(
    ratio: Float[Array, "*event"],
    deviation: Float[Array, "*event"],
    log_scale: Float[Array, "*event"],
) -> Float[Array, "*event"]:
    r"""$\log(1 + r^2)$ with the ratio $r = d/s$, also where r or its square overflows."""
    far = jnp.abs(ratio) > 1e9
    near_ratio = jnp.where(far, 0.0, ratio)
    far_size = jnp.abs(jnp.where(far, deviation, 1.0))
    return jnp.where(far, 2.0 * (jnp.log(far_size) - log_scale), jnp.log1p(near_ratio * near_ratio))
