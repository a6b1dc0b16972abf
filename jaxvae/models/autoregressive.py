"""Autoregressive models of one series: each row given those before it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from jaxvae import _run_time, nn
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions import Masked, Normal
from jaxvae.nn.recurrence import gap_to, run
from jaxvae.series import TimeSeries


class SequenceModel(NamedTuple):
    """The density of a series, given its times, as a product over its rows.

    Rows of which nothing is observed, padding among them, change none of these. Times may rise or
    fall: the models know distances only. To extrapolate backwards, turn the rows round
    (``jax.tree.map(lambda x: x[::-1], series)``) and train on such series.

    Attributes:
        init: key to fresh parameters.
        log_prob: ``(params, series)`` to the log-density of what is observed, in nats.
        one_step: ``(params, series)`` to the law of each row given the rows before it, a ``Normal``
            of shape (time, channel).
        forecast: ``(params, series, times)`` to a ``Normal`` of shape (time, channel) at times
            that carry on from the last observed row the way the rows go; a run-time error says so
            where they do not. Its own means are fed back as if they had been observed, so that
            the scales are those of one step, not of the whole way.
    """

    init: Callable[[PRNGKey], PyTree]
    log_prob: Callable[[PyTree, TimeSeries], Scalar]
    one_step: Callable[[PyTree, TimeSeries], Normal]
    forecast: Callable[[PyTree, TimeSeries, Array], Normal]


def autoregressive(recurrence: nn.Recurrence) -> SequenceModel:
    r"""A Normal for each value, mean and log-scale an affine function of the features of its past.

    $$\log p(x \mid t) = \sum_i\sum_{c:\,m_{ic} = 1}
      \log N(x_{ic};\, \mu_c(x_{<i}, t_{\le i}),\, \sigma_c^2(x_{<i}, t_{\le i}))$$

    Args:
        recurrence: how the past is summarised: one of ``nn.recurrent``, ``nn.anticipating``,
            ``nn.gru_decay``, ``nn.ode_rnn``.

    Reference: Chen et al. (2018), section 5.1: the recurrent baselines with a Gaussian negative
        log-likelihood.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import models, nn
        >>> from jaxvae.series import TimeSeries
        >>> model = models.autoregressive(nn.recurrent(2, 25, cell=nn.gru_cell))
        >>> series = TimeSeries(jnp.arange(9.0), jnp.zeros((9, 2)), jnp.ones((9, 2), bool))
        >>> params = model.init(jax.random.key(0))
        >>> model.forecast(params, series, jnp.arange(9.0, 14.0)).mean.shape
        (5, 2)
    """
    channels = recurrence.channels
    head = nn.mlp((recurrence.features,), (2, channels), hidden=())

    def init(key: PRNGKey) -> PyTree:
        first, second = jax.random.split(key)
        return {"recurrence": recurrence.init(first), "head": head.init(second)}

    def law(params: PyTree, features: Array) -> Normal:
        loc, log_scale = head.apply(params["head"], features)
        return Normal(loc, log_scale)

    def one_step(params: PyTree, series: TimeSeries) -> Normal:
        times, values, mask = map(jnp.asarray, series)
        _, features = run(recurrence, params["recurrence"], times, values, mask)
        return _rows(jax.vmap(law, (None, 0))(params, features))

    def log_prob(params: PyTree, series: TimeSeries) -> Scalar:
        law_of_rows = Masked(one_step(params, series), jnp.asarray(series.mask))
        return law_of_rows.log_prob(jnp.asarray(series.values))

    def forecast(params: PyTree, series: TimeSeries, times: Float[Array, " ahead"]) -> Normal:
        past, values, mask = map(jnp.asarray, series)
        times = _carrying_on(times, past, jnp.any(mask, axis=1))
        state, _ = run(recurrence, params["recurrence"], past, values, mask)
        first = gap_to(times[0], past, jnp.any(mask, axis=1))
        gaps = jnp.concatenate([first[None], jnp.abs(jnp.diff(times))])
        everything = jnp.ones(channels, bool)

        def step(state, gap):
            evolved = recurrence.evolve(params["recurrence"], state, gap)
            row = law(params, recurrence.read(evolved))
            seen = recurrence.row(row.mean, everything, gap)
            return recurrence.update(params["recurrence"], evolved, seen), row

        return _rows(lax.scan(step, state, gaps)[1])

    return SequenceModel(init, log_prob, one_step, forecast)


def _rows(stacked: Normal) -> Normal:
    """One law of all rows from a law for each."""
    return Normal(stacked.loc, stacked.log_scale)


def _carrying_on(
    times: Float[Array, " ahead"], past: Float[Array, " time"], observed: Bool[Array, " time"]
) -> Float[Array, " ahead"]:
    """The times, or a run-time error where they turn back."""
    last = past[jnp.max(jnp.where(observed, jnp.arange(past.shape[0]), 0))]
    before = jnp.where(jnp.any(observed), last, times[0])
    way = jnp.sign(past[-1] - past[0])
    # A series of one row has no direction: its forecast chooses one.
    direction = jnp.where(way == 0, jnp.sign(times[-1] - before), way)
    moves = direction * jnp.diff(times, prepend=before)
    message = (
        "forecast expected times that carry on from the last observed row the way the rows go, "
        "got others; to forecast backwards, turn the rows of the series round"
    )
    return _run_time.error_if(times, ~jnp.all(moves >= 0), message)


def rnn(channels: int, hidden: int = 25) -> SequenceModel:
    """A tanh network that is not told the times: the first baseline of the latent ODE.

    Args:
        channels: of a series.
        hidden: units.

    Reference: Chen et al. (2018), section 5.1, table 2.

    Example:
        >>> from jaxvae import models
        >>> model = models.rnn(2)
    """
    return autoregressive(nn.recurrent(channels, hidden, with_gaps=False))


def rnn_with_gaps(channels: int, hidden: int = 25) -> SequenceModel:
    """A tanh network that is fed the time until the next observation: the second baseline.

    Args:
        channels: of a series.
        hidden: units.

    Reference: Chen et al. (2018), section 5.1.

    Example:
        >>> from jaxvae import models
        >>> model = models.rnn_with_gaps(2)
    """
    return autoregressive(nn.anticipating(channels, hidden))


def gru_decay(
    channels: int, hidden: int = 25, *, means: tuple[float, ...] | None = None
) -> SequenceModel:
    """GRU-D: state and last seen values decay while nothing is observed; see ``nn.gru_decay``.

    Args:
        channels: of a series.
        hidden: units.
        means: of each channel in the training data; None for zeros.

    Reference: Che et al. (2018).

    Example:
        >>> from jaxvae import models
        >>> model = models.gru_decay(2, means=(0.5, -1.0))
    """
    return autoregressive(nn.gru_decay(channels, hidden, means=means))


def ode_rnn(channels: int, hidden: int = 25, *, field: nn.Network | None = None) -> SequenceModel:
    """ODE-RNN: the state follows a differential equation between rows; see ``nn.ode_rnn``.

    Args:
        channels: of a series.
        hidden: units.
        field: from the state to its derivative; None for a bounded perceptron.

    Reference: Rubanova, Chen and Duvenaud (2019), section 3.1.

    Example:
        >>> from jaxvae import models
        >>> model = models.ode_rnn(2)
    """
    return autoregressive(nn.ode_rnn(channels, hidden, field=field))
