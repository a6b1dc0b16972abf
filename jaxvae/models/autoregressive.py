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

    Rows without an observation, padding among them, change nothing. Times may rise or fall, as the
    models only see the distance between two of them. To extrapolate backwards, reverse the rows
    (``jax.tree.map(lambda x: x[::-1], series)``) and train on such series.

    Attributes:
        init: key to fresh parameters.
        log_prob: ``(params, series)`` to the log-density of what is observed, in nats.
        one_step: ``(params, series)`` to the distribution of each row given the rows before it, a
            ``Normal`` of shape (time, channel).
        forecast: ``(params, series, times)`` to a ``Normal`` of shape (time, channel) at times
            that continue from the last observed row in the direction of the series; other times
            are a run-time error. The model's own means are fed back as if they had been observed,
            so the scales are those of a single step and do not grow with the distance.
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
        recurrence: how the past is summarised: ``nn.recurrent(..., with_gaps=False)`` for an RNN,
            ``nn.anticipating`` for an RNN with time gaps, ``nn.gru_decay`` for GRU-D, or
            ``nn.ode_rnn`` for an ODE-RNN.

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

    def normal(params: PyTree, features: Array) -> Normal:
        loc, log_scale = head.apply(params["head"], features)
        return Normal(loc, log_scale)

    def one_step(params: PyTree, series: TimeSeries) -> Normal:
        times, values, mask = map(jnp.asarray, series)
        _, features = run(recurrence, params["recurrence"], times, values, mask)
        return _rows(jax.vmap(normal, (None, 0))(params, features))

    def log_prob(params: PyTree, series: TimeSeries) -> Scalar:
        observed = Masked(one_step(params, series), jnp.asarray(series.mask))
        return observed.log_prob(jnp.asarray(series.values))

    def forecast(params: PyTree, series: TimeSeries, times: Float[Array, " ahead"]) -> Normal:
        past, values, mask = map(jnp.asarray, series)
        times = _continuing(times, past, jnp.any(mask, axis=1))
        state, _ = run(recurrence, params["recurrence"], past, values, mask)
        first = gap_to(times[0], past, jnp.any(mask, axis=1))
        gaps = jnp.concatenate([first[None], jnp.abs(jnp.diff(times))])
        everything = jnp.ones(channels, bool)

        def step(state, gap):
            evolved = recurrence.evolve(params["recurrence"], state, gap)
            row = normal(params, recurrence.read(evolved))
            seen = recurrence.row(row.mean, everything, gap)
            return recurrence.update(params["recurrence"], evolved, seen), row

        return _rows(lax.scan(step, state, gaps)[1])

    return SequenceModel(init, log_prob, one_step, forecast)


def _rows(stacked: Normal) -> Normal:
    """The distribution of all rows from a batch of distributions of one row."""
    return Normal(stacked.loc, stacked.log_scale)


def _continuing(
    times: Float[Array, " ahead"], past: Float[Array, " time"], observed: Bool[Array, " time"]
) -> Float[Array, " ahead"]:
    """The times, or a run-time error if they do not continue in the direction of the series."""
    last = past[jnp.max(jnp.where(observed, jnp.arange(past.shape[0]), 0))]
    before = jnp.where(jnp.any(observed), last, times[0])
    of_series = jnp.sign(past[-1] - past[0])
    # A series of one row may be forecast in either direction.
    direction = jnp.where(of_series == 0, jnp.sign(times[-1] - before), of_series)
    steps = direction * jnp.diff(times, prepend=before)
    message = (
        "forecast expected times that continue from the last observed row in the direction of the "
        "series, but some go back; to forecast backwards, reverse the rows of the series"
    )
    return _run_time.error_if(times, ~jnp.all(steps >= 0), message)
