"""Recurrences over the rows of an irregular, partly observed series: protocol, cells, networks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.nn.mlp import tanh
from jaxvae.nn.network import Network

CellFactory = Callable[[int, int], Network]


class Recurrence(NamedTuple):
    """What happens to a hidden state between two observed rows, and at a row.

    ``run`` applies it to a series: rows of which nothing is observed leave the state alone, and
    the time that passes is counted from the last row with an observation. Padding, and rows that
    could as well have been left out, therefore change nothing, unless ``evolve`` or ``update``
    makes something there that is not finite.

    Attributes:
        init: key to fresh parameters.
        initial: dtype to the state before the first row.
        evolve: ``(params, state, gap)`` to what has become of the state after a time.
        row: ``(values, mask, gap)`` to what ``update`` takes of a row; values that are not observed
            are 0. It is applied to all rows at once, before the scan: inside of it, concatenation
            costs a batch as much as the rest of a plain recurrence.
        update: ``(params, evolved, row)`` to the state after a row.
        read: an evolved state to a vector of features.
        features: its length.
        channels: channels of a series.
    """

    init: Callable[[PRNGKey], PyTree]
    initial: Callable[[DTypeLike], Any]
    evolve: Callable[[PyTree, Any, Scalar], Any]
    row: Callable[[Array, Array, Scalar], Any]
    update: Callable[[PyTree, Any, Any], Any]
    read: Callable[[Any], Array]
    features: int
    channels: int


def run(
    recurrence: Recurrence,
    params: PyTree,
    times: Float[Array, " time"],
    values: Float[Array, "time channel"],
    mask: Bool[Array, "time channel"],
) -> tuple[Any, Float[Array, "time features"]]:
    """The state after all rows, and the features of each row's past.

    Args:
        recurrence: what happens between and at the rows.
        params: its parameters.
        times: in the order of the rows, rising or falling; a gap is the distance of two times.
        values: those that are not observed may be anything.
        mask: True where observed.

    Returns:
        The state, and features (time, features): what is known when a row's time has come,
        before it is seen.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    _check.event_shape("the values of a series", (*times.shape, recurrence.channels), values.shape)
    _check.same_shape("a series", values=values, mask=mask)
    _check.floating("the times of a series", times)
    observed = jnp.any(mask, axis=1)
    passed = gaps(times, observed)
    rows = jax.vmap(recurrence.row)(jnp.where(mask, values, 0), mask, passed)

    # The product with the input weights stays inside the scan: for all rows at once it takes half
    # as long again on a CPU, as writing and reading the products outweighs what is saved.
    def step(state: Any, row: tuple[Array, Any, Array]) -> tuple[Any, Array]:
        gap, seen, weight = row
        evolved = recurrence.evolve(params, state, gap)
        updated = recurrence.update(params, evolved, seen)
        # Exact for weights of 0 and 1; ``where`` instead makes the gradient of a batch half as slow
        # again on a CPU.
        kept = jax.tree.map(lambda new, old: weight * new + (1 - weight) * old, updated, state)
        return kept, recurrence.read(evolved)

    weights = observed.astype(values.dtype)
    return lax.scan(step, recurrence.initial(values.dtype), (passed, rows, weights))


def values_and_mask(values: Array, mask: Array, gap: Scalar) -> Array:
    """A row for recurrences whose cell is not given the time."""
    del gap
    return jnp.concatenate([values, mask.astype(values.dtype)])


def gaps(times: Float[Array, " time"], observed: Bool[Array, " time"]) -> Float[Array, " time"]:
    """Time since the last observed row before each row; 0 where there is none."""
    places = jnp.arange(times.shape[0])
    last = lax.cummax(jnp.where(observed, places, -1))
    before = jnp.concatenate([jnp.full_like(last[:1], -1), last[:-1]])
    return jnp.where(before < 0, 0, jnp.abs(times - times[jnp.maximum(before, 0)]))


def gap_to(time: Scalar, times: Float[Array, " time"], observed: Bool[Array, " time"]) -> Scalar:
    """Time between the last observed row and another time; 0 if there is no such row."""
    last = jnp.max(jnp.where(observed, jnp.arange(times.shape[0]), 0))
    return jnp.where(jnp.any(observed), jnp.abs(time - times[last]), 0)


def rnn_cell(in_dim: int, hidden: int, *, activation: Callable[[Array], Array] = tanh) -> Network:
    r"""$h \mapsto a(Wx + Uh + b)$.

    W starts with variance one over its number of inputs, U orthogonal, b at zero.

    Args:
        in_dim: size of x.
        hidden: size of h.
        activation: a, elementwise.

    Returns:
        A network: ``apply(parameters, h, x)`` to the next h.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Elman (1990).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> cell = nn.rnn_cell(3, 25)
        >>> cell.apply(cell.init(jax.random.key(0)), jnp.zeros(25), jnp.ones(3)).shape
        (25,)
    """
    _check_sizes("nn.rnn_cell", in_dim, hidden)

    def apply(params: PyTree, h: Array, x: Array) -> Float[Array, " hidden"]:
        from_x, from_h = _products("nn.rnn_cell", (in_dim, hidden), params, h, x)
        return activation(from_x + from_h)

    return Network(lambda key: _init(key, in_dim, hidden, 1), apply)


def gru_cell(in_dim: int, hidden: int) -> Network:
    r"""A gated recurrent unit.

    .. math::
        r, u = \sigma(W_{r,u} x + U_{r,u} h + b_{r,u}), \quad
        n = \tanh(W_n x + b_n + r \odot U_n h), \quad h \mapsto (1 - u) \odot n + u \odot h

    Weights start as those of ``rnn_cell``, each of the three blocks by itself.

    Args:
        in_dim: size of x.
        hidden: size of h.

    Returns:
        A network: ``apply(parameters, h, x)`` to the next h.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Cho et al. (2014); the reset gate stands after the product with U, so that one
        product serves all three.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> cell = nn.gru_cell(3, 25)
        >>> cell.apply(cell.init(jax.random.key(0)), jnp.zeros(25), jnp.ones(3)).shape
        (25,)
    """
    _check_sizes("nn.gru_cell", in_dim, hidden)

    def apply(params: PyTree, h: Array, x: Array) -> Float[Array, " hidden"]:
        from_x, from_h = _products("nn.gru_cell", (in_dim, hidden), params, h, x)
        gates = jax.nn.sigmoid(from_x[: 2 * hidden] + from_h[: 2 * hidden])
        reset, keep = gates[:hidden], gates[hidden:]
        new = jnp.tanh(from_x[2 * hidden :] + reset * from_h[2 * hidden :])
        return (1.0 - keep) * new + keep * h

    return Network(lambda key: _init(key, in_dim, hidden, 3), apply)


def _products(owner: str, sizes: tuple[int, int], params: PyTree, h: Array, x: Array):
    _check.event_shape(f"the input of {owner}", sizes[:1], x.shape)
    _check.event_shape(f"the state of {owner}", sizes[1:], h.shape)
    return x @ params["input"] + params["bias"], h @ params["recurrent"]


def _init(key: PRNGKey, in_dim: int, hidden: int, blocks: int) -> PyTree:
    input_key, *keys = jax.random.split(key, 1 + blocks)
    orthogonal = nnx.initializers.orthogonal()
    return {
        "input": nnx.initializers.lecun_normal()(input_key, (in_dim, blocks * hidden)),
        "recurrent": jnp.concatenate([orthogonal(k, (hidden, hidden)) for k in keys], axis=1),
        "bias": jnp.zeros(blocks * hidden),
    }


def _check_sizes(owner: str, in_dim: int, hidden: int) -> None:
    _check.positive(f"in_dim of {owner}", in_dim)
    _check.positive(f"hidden of {owner}", hidden)


def recurrent(
    channels: int, hidden: int, *, cell: CellFactory = rnn_cell, with_gaps: bool = True
) -> Recurrence:
    r"""A cell that takes values, mask and the time since the last observed row.

    $$h_i = \mathrm{cell}(h_{i-1},\; [m_i \odot x_i,\; m_i,\; t_i - t_{i-1}])$$

    over the rows with an observation; h is zero before the first. The features of a row's past are
    $h_{i-1}$ and the time gone by since.

    Args:
        channels: of a series.
        hidden: size of h.
        cell: ``rnn_cell``, ``gru_cell``, or any other function of the sizes of input and state.
        with_gaps: False leaves time out, of the features too.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Chen et al. (2018), section 5; the mask as an input: Lipton et al. (2016).

    Example:
        >>> from jaxvae import nn
        >>> encoder = nn.recurrent_encoder(nn.recurrent(2, 25, cell=nn.gru_cell), 8)
    """
    _check.positive("channels of nn.recurrent", channels)
    network = cell(2 * channels + with_gaps, hidden)

    def evolve(params: PyTree, h: Array, gap: Scalar) -> tuple[Array, Array]:
        del params
        return h, jnp.asarray(gap, h.dtype)[None][: int(with_gaps)]

    def row(values: Array, mask: Array, gap: Scalar) -> Array:
        seen = values_and_mask(values, mask, gap)
        return jnp.append(seen, jnp.asarray(gap, seen.dtype)) if with_gaps else seen

    def update(params: PyTree, evolved: tuple[Array, Array], row: Array) -> Array:
        return network.apply(params, evolved[0], row)

    return Recurrence(
        network.init,
        lambda dtype: jnp.zeros(hidden, dtype),
        evolve,
        row,
        update,
        jnp.concatenate,
        hidden + with_gaps,
        channels,
    )


def anticipating(channels: int, hidden: int, *, cell: CellFactory = rnn_cell) -> Recurrence:
    r"""A cell that takes values, mask and the time until the next observed row.

    $$h_{i+1} = \mathrm{cell}(h_i,\; [m_i \odot x_i,\; m_i,\; t_{i+1} - t_i])$$

    The features of row i's past are $h_i$, which know of its time; $h_1$ comes from a row of zeros.

    Args:
        channels: of a series.
        hidden: size of h.
        cell: ``rnn_cell``, ``gru_cell``, or any other function of the sizes of input and state.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Chen et al. (2018), section 5.1, the second baseline.

    Example:
        >>> from jaxvae import nn
        >>> nn.anticipating(2, 25).features
        25
    """
    _check.positive("channels of nn.anticipating", channels)
    network = cell(2 * channels + 1, hidden)

    def evolve(params: PyTree, state: tuple[Array, Array], gap: Scalar) -> Array:
        h, last = state
        return network.apply(params, h, jnp.append(last, jnp.asarray(gap, h.dtype)))

    def update(params: PyTree, h: Array, row: Array) -> tuple[Array, Array]:
        del params
        return h, row

    return Recurrence(
        network.init,
        lambda dtype: (jnp.zeros(hidden, dtype), jnp.zeros(2 * channels, dtype)),
        evolve,
        values_and_mask,
        update,
        lambda h: h,
        hidden,
        channels,
    )
