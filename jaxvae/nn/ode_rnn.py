"""ODE-RNN: a hidden state that follows a differential equation from row to row."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import _check, ode
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.nn.mlp import mlp, tanh
from jaxvae.nn.network import Network
from jaxvae.nn.recurrence import CellFactory, Recurrence, gru_cell, values_and_mask
from jaxvae.nn.vector_fields import bounded

_EULER_STEPS = 4


def ode_rnn(
    channels: int,
    hidden: int,
    *,
    field: Network | None = None,
    cell: CellFactory = gru_cell,
    integrator: ode.Integrator | None = None,
) -> Recurrence:
    r"""A cell at the observed rows, and an ordinary differential equation between them.

    .. math::
        h_i^- = h_{i-1} + \int_0^{|t_i - t_{i-1}|} f(h)\,ds, \quad
        h_i = \mathrm{cell}(h_i^-,\; [m_i \odot x_i,\; m_i])

    The features of a row's past are $h_i^-$. The field f is time-invariant, and time runs forwards
    in whichever order the rows are read. Each gap is solved on the unit interval,
    $dh/du = |t_i - t_{i-1}|\,f(h)$, so that series with different gaps take their steps together,
    and a gap of zero leaves h as it is.

    Args:
        channels: of a series.
        hidden: size of h.
        field: f, from h to its derivative; None for ``bounded`` of a perceptron with 50 hidden
            units.
        cell: ``gru_cell``, ``rnn_cell``, or any other function of the sizes of input and state.
        integrator: of one gap, with steps in units of the gap; if it fails, the state becomes NaN.
            None for four Euler steps: a learnt field adapts to its steps, and an adaptive solver
            would start anew in each gap and wait for the most difficult series.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Rubanova, Chen and Duvenaud (2019), section 3.1 and algorithm 1.

    Example:
        >>> from jaxvae import nn
        >>> encoder = nn.recurrent_encoder(nn.ode_rnn(2, 25), 8)
    """
    _check.positive("channels of nn.ode_rnn", channels)
    network = cell(2 * channels, hidden)
    if field is None:
        field = bounded(mlp((hidden,), (hidden,), hidden=(50,), activation=tanh), hidden)

    def init(key: PRNGKey) -> PyTree:
        first, second = jax.random.split(key)
        return {"cell": network.init(first), "field": field.init(second)}

    def evolve(params: PyTree, h: Array, gap: Scalar) -> Array:
        return _integrate(field, params["field"], h, jnp.asarray(gap, h.dtype), integrator)

    def update(params: PyTree, h: Array, row: Array) -> Array:
        return network.apply(params["cell"], h, row)

    return Recurrence(
        init,
        lambda dtype: jnp.zeros(hidden, dtype),
        evolve,
        values_and_mask,
        update,
        lambda h: h,
        hidden,
        channels,
    )


def _integrate(
    field: Network, params: PyTree, h: Array, gap: Scalar, integrator: ode.Integrator | None
) -> Array:
    if integrator is None:
        # Unrolled, these compile in a fifth of the time of a solve inside the scan, and run in two
        # thirds.
        for _ in range(_EULER_STEPS):
            h = h + (gap / _EULER_STEPS) * field.apply(params, h)
        return h

    def speed(u: Scalar, h: Array, params: PyTree) -> Array:
        del u
        weights, gap = params
        return gap * field.apply(weights, h)

    # NaN rather than an error: training detects it and reports the batch.
    solution = ode.solve(
        speed, (params, gap), h, jnp.ones(1, h.dtype), t0=0.0, integrator=integrator, throw=False
    )
    return jnp.where(solution.reached[0], solution.values[0], jnp.nan)
