"""What densities and distribution functions say of values that are no events, NaN among them."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array


def log_zero(value: Array) -> Array:
    """Log-density beside the support: minus infinity, but NaN for what is not a number."""
    return jnp.where(jnp.isnan(value), jnp.nan, -jnp.inf)


def unless_nan(value: Array, result: Array) -> Array:
    """The result, or NaN for what is not a number."""
    return jnp.where(jnp.isnan(value), jnp.nan, result)


def few_roundings(size: Array) -> Array:
    """How far off a number may be that sums, logarithms and exponentials of this size led to.

    A bound that a law computes from its parameters may miss by this much the one it was made from,
    which is to count as inside.
    """
    return 4.0 * float(jnp.finfo(size.dtype).eps) * jnp.abs(size)


def on_finite(log_density: Callable[[Array], Array], value: Array, inside: Array) -> Array:
    """Log-density of a vector whose entries are finite, at a point inside where they are not."""
    finite = jnp.all(jnp.isfinite(value))
    at_value = log_density(jnp.where(finite, value, inside))
    return jnp.where(finite, at_value, jnp.sum(log_zero(value)))
