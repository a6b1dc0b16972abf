"""Recurrent networks over the rows of a series, that know of time what they are told."""

import jax.numpy as jnp
from jax import Array

from jaxvae import _check
from jaxvae._types import PyTree, Scalar
from jaxvae.nn.cells import CellFactory, rnn_cell
from jaxvae.nn.recurrence import Recurrence, values_and_mask


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
