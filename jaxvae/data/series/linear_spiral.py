"""A linear spiral, solved by the matrix exponential: the example of the adjoint method."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import expm
from jaxtyping import Float

from jaxvae.series import TimeSeries

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
