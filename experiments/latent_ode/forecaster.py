"""The interface of a model that forecasts spirals, the windows it sees, and its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae
from jaxvae import data

WINDOW = 100
SPACING = data.SpiralCurves().final_angle / (data.SpiralCurves().grid_points - 1)
BEYOND = 100
"""Number of points that are forecast on either side of a window."""


class Forecast(NamedTuple):
    """The forecast of several series at the points before, in and after their windows.

    Attributes:
        mean: shape (series, point, 2); NaN at points for which a model makes no forecast.
        paths: means of single draws from the posterior, (series, draw, point, 2), or None.
    """

    mean: Array
    paths: Array | None


class Forecaster(NamedTuple):
    """A model of the windows, as three or four functions.

    Attributes:
        init: takes a key and returns parameters.
        loss: of one example. Its inputs are a ``TimeSeries`` with a leading axis of seeds, of which
            ``settings`` chooses one.
        forecast: takes parameters, series and a key and returns a ``Forecast``.
        states: takes parameters and one series and returns the latent states at the points of the
            forecast; None if the model has no latent states.
    """

    init: Callable[..., Any]
    loss: Callable[..., jaxvae.Estimate]
    forecast: Callable[..., Forecast]
    states: Callable[..., Array] | None


def times_of(first: int, last: int) -> Array:
    """Times of the points from ``first`` to ``last - 1``, counted from a window's first point."""
    return SPACING * jnp.arange(first, last, dtype=jnp.float32)


def seen_from(series: jaxvae.TimeSeries, start: Array | int) -> jaxvae.TimeSeries:
    """The same series with times relative to point ``start`` of the window."""
    return series._replace(times=series.times - SPACING * jnp.asarray(start, series.times.dtype))


def of_seed(series: jaxvae.TimeSeries, seed: Any, scale: float) -> jaxvae.TimeSeries:
    """The series of one seed, or of the only one if None, with values divided by ``scale``."""
    own = series if seed is None else jax.tree.map(lambda x: x[seed], series)
    return own._replace(values=own.values / scale)


def log_units(series: jaxvae.TimeSeries, scale: float) -> Array:
    """The sum of log ``scale`` over the observed values.

    A log-density of scaled values less this number is the log-density of the values themselves.
    """
    return jnp.sum(jnp.where(series.mask, jnp.log(scale), 0.0))


def turned(series: jaxvae.TimeSeries) -> jaxvae.TimeSeries:
    """The series with its rows in reverse order."""
    return jax.tree.map(lambda x: x[::-1], series)


@dataclass(frozen=True)
class Setting:
    """Sizes of the networks, how they are trained, and how the latent ODE forecasts.

    Attributes:
        start: where the latent ODE starts: at the first point of a window, or anywhere in it.
        cell: of the recurrent networks and of the encoder.
        units: of these cells.
        dynamics: widths of the hidden layers of the latent vector field.
        decoder: widths of the hidden layers of the decoder.
        latent_dim: size of the latent state.
        sleep: weight of the encoder's log-density at the latent state of a sleep-phase sample.
        samples: number of importance-weighted posterior samples in a forecast; with 0 the forecast
            is that of the posterior mean.
        scale: values are divided by this number.
        steps: of the optimiser.
        batch_size: series in a step.
        learning_rate: of Adam, at its largest.
        decay: whether the learning rate falls to 0 along a cosine.
    """

    start: Literal["first", "anywhere"]
    cell: Literal["rnn", "gru"]
    units: int
    dynamics: tuple[int, ...]
    decoder: tuple[int, ...]
    latent_dim: int
    sleep: float
    samples: int
    scale: float
    steps: int
    batch_size: int
    learning_rate: float
    decay: bool


PRESETS = {
    "paper": Setting("first", "rnn", 25, (20,), (20,), 4, 0.0, 0, 1.0, 2000, 1000, 1e-2, False),
    "best": Setting("anywhere", "gru", 25, (100,), (), 3, 1.0, 512, 4.0, 8000, 100, 1.5e-2, True),
}
