"""GRU-D: a gated recurrent unit for series with missing values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.nn.recurrence import Recurrence, gru_cell


class _State(NamedTuple):
    """Hidden state, last observed values, and time since each of them was."""

    hidden: Float[Array, " hidden"]
    last: Float[Array, " channel"]
    since: Float[Array, " channel"]


def gru_decay(channels: int, hidden: int, *, means: tuple[float, ...] | None = None) -> Recurrence:
    r"""A GRU whose state, and whose last seen values, decay while nothing is observed.

    With $\delta$ the time since each channel was observed, $x'$ its last value and $\bar x$ its
    mean,

    .. math::
        \gamma_h = e^{-\max(0, W\delta + b)}, \quad \gamma_x = e^{-\max(0, w \odot \delta + c)},
        \quad h^- = \gamma_h \odot h, \quad
        \hat x = m \odot x + (1 - m) \odot (\gamma_x \odot x' + (1 - \gamma_x) \odot \bar x)

    and $h \mapsto \mathrm{GRU}(h^-, [\hat x, m])$. The features of a row's past are $h^-$. Before
    its first observation a channel counts as observed at the first row, with its mean. Rows of
    which nothing is observed are passed over, so that, other than in the paper, the state decays
    once for the whole gap between two rows with an observation, not once for each row in it.

    Args:
        channels: of a series.
        hidden: size of h.
        means: $\bar x$ of each channel in the training data; None for zeros, the means of
            standardised data.

    Raises:
        ValueError: if a size is not a positive integer, or there is not one mean a channel.

    Reference: Che et al. (2018), eqs. 3 to 5 and 10 to 13.

    Example:
        >>> from jaxvae import nn
        >>> encoder = nn.recurrent_encoder(nn.gru_decay(2, 25, means=(0.5, -1.0)), 8)
    """
    _check.positive("channels of nn.gru_decay", channels)
    means = (0.0,) * channels if means is None else means
    if len(means) != channels:
        raise ValueError(
            f"nn.gru_decay expected one mean for each of {channels} channels, got {len(means)}"
        )
    cell = gru_cell(2 * channels, hidden)

    def init(key: PRNGKey) -> PyTree:
        cell_key, hidden_key, value_key = jax.random.split(key, 3)
        rates = jax.random.uniform(hidden_key, (channels, hidden), maxval=1.0 / channels)
        return {
            "cell": cell.init(cell_key),
            "hidden_rate": rates,
            "hidden_bias": jnp.zeros(hidden),
            "value_rate": jax.random.uniform(value_key, (channels,)),
            "value_bias": jnp.zeros(channels),
        }

    def initial(dtype: DTypeLike) -> _State:
        return _State(
            jnp.zeros(hidden, dtype), jnp.asarray(means, dtype), jnp.zeros(channels, dtype)
        )

    def evolve(params: PyTree, state: _State, gap: Scalar) -> _State:
        since = state.since + gap
        rate = jax.nn.relu(since @ params["hidden_rate"] + params["hidden_bias"])
        return _State(state.hidden * jnp.exp(-rate), state.last, since)

    def row(values: Array, mask: Array, gap: Scalar) -> tuple[Array, Array]:
        del gap
        return values, mask

    def update(params: PyTree, state: _State, row: tuple[Array, Array]) -> _State:
        values, mask = row
        rate = jax.nn.relu(state.since * params["value_rate"] + params["value_bias"])
        mean = jnp.asarray(means, values.dtype)
        guess = mean + jnp.exp(-rate) * (state.last - mean)
        filled = jnp.concatenate([jnp.where(mask, values, guess), mask.astype(values.dtype)])
        return _State(
            cell.apply(params["cell"], state.hidden, filled),
            jnp.where(mask, values, state.last),
            jnp.where(mask, 0, state.since),
        )

    return Recurrence(
        init, initial, evolve, row, update, lambda state: state.hidden, hidden, channels
    )
