"""Motion on a circle, known exactly: what the first neural ODE of the Bath report learns."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey


class Stops(NamedTuple):
    """States of one solution of an ODE at many times.

    Attributes:
        times: shape (stop,), in no order.
        states: shape (stop, 2).
    """

    times: Float[Array, "*batch"]
    states: Float[Array, "*batch 2"]


def circular_field(state: Float[Array, "2"]) -> Float[Array, "2"]:
    r"""Evaluate the field $f(x, y) = (-y, x)$ at one state."""
    return jnp.stack([-state[1], state[0]])


def circular(count: int = 12_800, *, key: PRNGKey) -> Stops:
    r"""Draw stop times and take the exact states of circular dynamics there, without noise.

    .. math::
        \dot{\mathbf x}(t) = (-y(t), x(t)), \quad \mathbf x(0) = (1, 0), \quad
        \mathbf x(t) = (\cos t, \sin t), \quad t \sim \mathcal U[0, 2\pi)

    Args:
        count: number of stop times.
        key: of the times.

    Raises:
        ValueError: if the count is not a positive integer.

    Reference: Bath report, section 5.1.1, equations (22) and (23).

    Example:
        >>> import jax
        >>> from jaxvae.data.series import circular
        >>> circular(key=jax.random.key(0)).states.shape
        (12800, 2)
    """
    _check.positive("count", count)
    times = jax.random.uniform(key, (count,), maxval=2 * math.pi)
    return Stops(times, jnp.stack([jnp.cos(times), jnp.sin(times)], axis=-1))
