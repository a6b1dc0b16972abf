"""Solutions of linear ordinary differential equations, known exactly: a circle and a spiral."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import expm
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey
from jaxvae.series import TimeSeries


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


_MATRIX = ((-0.1, 1.0), (-0.2, -0.1))
_INITIAL = (1.0, 0.0)


def linear_spiral(
    times: Float[Array, "time"],
    *,
    matrix: Float[Array, "channel channel"] | None = None,
    initial: Float[Array, "channel"] | None = None,
) -> TimeSeries:
    r"""Solve a linear ODE exactly at given times.

    .. math:: \dot{\mathbf x} = W \mathbf x, \quad \mathbf x(t) = e^{W t} \mathbf x(0)

    The matrix acts on column vectors. The published program of this example multiplies a row
    vector from the right, $\dot h = h W$ with $h(0) = (1, 0)$, so its trajectory is that of
    ``matrix=W.T``: it turns the other way and is 5 times as long in y; the eigenvalues,
    $-0.1 \pm i \sqrt{0.2}$, are the same.

    Args:
        times: in any order; the example has 200 of them, evenly from 0 to 25.
        matrix: W, by default [[-0.1, 1], [-0.2, -0.1]].
        initial: the state at time 0, by default (1, 0), where the published program starts.

    Returns:
        A series in which everything is observed, without noise.

    Raises:
        ValueError: if the matrix is not square or does not fit the initial state.

    Reference: Bath report, section 5.2, figure 17.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.data.series import linear_spiral
        >>> linear_spiral(jnp.linspace(0.0, 25.0, 200)).values.shape
        (200, 2)
    """
    rate = jnp.asarray(_MATRIX if matrix is None else matrix, times.dtype)
    state = jnp.asarray(_INITIAL if initial is None else initial, times.dtype)
    if rate.shape != (*state.shape, *state.shape):
        raise ValueError(
            f"linear_spiral expected a square matrix with one row for each coordinate of the "
            f"initial state, got {rate.shape} and {state.shape}"
        )

    def solve(time: Float[Array, ""]) -> Float[Array, "channel"]:
        # JAX squares once too rarely for full precision; half the exponent makes up for it.
        half = expm(rate * (0.5 * time))
        return half @ (half @ state)

    values = jax.vmap(solve)(times)
    return TimeSeries(times, values, jnp.ones(values.shape, bool))
