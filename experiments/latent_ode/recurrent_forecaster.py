"""The recurrent networks that Chen et al. (2018) compare with the latent ODE, on spirals."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jaxvae
from experiments.latent_ode.forecaster import (
    BEYOND,
    WINDOW,
    Forecast,
    Forecaster,
    Setting,
    log_units,
    of_seed,
    times_of,
    turned,
)
from jaxvae import models, nn


def recurrent(setting: Setting, with_gaps: bool) -> Forecaster:
    """Two autoregressive networks: one reads the window forwards, one reads it backwards."""
    cell = {"rnn": nn.rnn_cell, "gru": nn.gru_cell}[setting.cell]
    recurrence = (
        nn.anticipating(2, setting.units, cell=cell)
        if with_gaps
        else nn.recurrent(2, setting.units, cell=cell, with_gaps=False)
    )
    model, scale = models.autoregressive(recurrence), setting.scale

    def init(key):
        first, second = jax.random.split(key)
        return {"forward": model.init(first), "backward": model.init(second)}

    def loss(params, example, *, key, settings) -> jaxvae.Estimate:
        del key
        series = of_seed(example.inputs, settings, scale)
        units = log_units(series, scale)
        forward = model.log_prob(params["forward"], series) - units
        backward = model.log_prob(params["backward"], turned(series)) - units
        return jaxvae.Estimate(forward + backward, forward, {"backward": backward})

    def ahead(params, series: jaxvae.TimeSeries, times: Array) -> Array:
        if with_gaps:
            return model.forecast(params, series, times).mean
        places = rows_until(len(series.times))
        rows = model.forecast(params, series, times[: math.ceil(places[-1])]).mean
        known = jnp.concatenate([series.values[-1:], rows])
        return jax.vmap(partial(jnp.interp, places, jnp.arange(1.0 * len(known))), 1, 1)(known)

    def one(params, series: jaxvae.TimeSeries) -> Array:
        own = of_seed(series, None, scale)
        after = ahead(params["forward"], own, times_of(WINDOW, WINDOW + BEYOND))
        before = ahead(params["backward"], turned(own), times_of(-BEYOND, 0)[::-1])
        unknown = jnp.full((WINDOW, 2), jnp.nan)
        return scale * jnp.concatenate([before[::-1], unknown, after])

    def forecast(params, series: jaxvae.TimeSeries, key) -> Forecast:
        del key
        return Forecast(jax.vmap(one, (None, 0))(params, series), None)

    return Forecaster(init, loss, forecast, None)


def rows_until(points: int) -> np.ndarray:
    """The expected number of rows from the last one observed to each point after a window.

    An RNN without time gaps counts rows and knows no times. Among n points that are drawn from w
    without replacement, neighbours are (w + 1)/(n + 1) apart in expectation, and so are the last
    one and the first point after the window.
    """
    return 1.0 + np.arange(BEYOND) * (points + 1) / (WINDOW + 1)
