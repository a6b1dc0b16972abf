"""What forecasts bi-directional spirals: its interface, and the windows that it sees."""

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
"""Points that are forecast on either side of a window."""


class Forecast(NamedTuple):
    """Of series at the points before, in and after their windows.

    Attributes:
        mean: shape (series, point, 2); NaN where a model has none.
        paths: draws of the means (series, draw, point, 2), or None.
    """

    mean: Array
    paths: Array | None


class Forecaster(NamedTuple):
    """A model of the windows.

    Attributes:
        init: key to parameters.
        loss: of one example, whose inputs are the window's ``TimeSeries`` for each seed; the
            setting is the number of the seed.
        forecast: parameters, series and a key to their forecast.
        states: parameters and one series to latent states at the same points, or None.
    """

    init: Callable[..., Any]
    loss: Callable[..., jaxvae.Estimate]
    forecast: Callable[..., Forecast]
    states: Callable[..., Array] | None


def times_of(first: int, last: int) -> Array:
    """Times from the first point's on to before the last one's; that of a window's first is 0."""
    return SPACING * jnp.arange(first, last, dtype=jnp.float32)


def seen_from(series: jaxvae.TimeSeries, start: Array | int) -> jaxvae.TimeSeries:
    """The series with the start's time as 0."""
    return series._replace(times=series.times - SPACING * jnp.asarray(start, series.times.dtype))


def of_seed(series: jaxvae.TimeSeries, seed: Any, scale: float) -> jaxvae.TimeSeries:
    """Scaled down; of one seed where there are several, as in training."""
    own = series if seed is None else jax.tree.map(lambda x: x[seed], series)
    return own._replace(values=own.values / scale)


def log_units(series: jaxvae.TimeSeries, scale: float) -> Array:
    """What a density of scaled values is too high by, as one of the values themselves."""
    return jnp.sum(jnp.where(series.mask, jnp.log(scale), 0.0))


def turned(series: jaxvae.TimeSeries) -> jaxvae.TimeSeries:
    """From the last row to the first."""
    return jax.tree.map(lambda x: x[::-1], series)


@dataclass(frozen=True)
class Setting:
    """Sizes of the networks, how they are trained, and how the latent ODE forecasts.

    Attributes:
        start: of the latent ODE: at the first point of a window, or anywhere in it.
        cell: of the recurrent networks and the encoder.
        units: likewise.
        dynamics: hidden units of the flow.
        decoder: hidden units of the decoder.
        latent_dim: size of the latent state.
        sleep: weight of the log-density of the state of a series that the model has drawn.
        samples: of the posterior in a forecast, weighted; 0 takes the mean of q.
        scale: what values are divided by.
        steps: of the optimiser.
        batch_size: series in a step.
        learning_rate: of Adam, at its highest.
        decay: whether it falls to 0 along a cosine.
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
