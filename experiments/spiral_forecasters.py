"""What forecasts bi-directional spirals: its interface, and the windows that it sees."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
