"""Irregular, partly observed time series: how they are held, padded and thinned out."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from jaxvae import _check
from jaxvae._types import PRNGKey


class TimeSeries(NamedTuple):
    """One time series; a batch carries a leading axis on every array.

    Times increase strictly up to the last row. Padding are rows after that, which repeat the last
    time and have nothing observed, so an ODE solver has nothing to do between them and a
    likelihood nothing to count. Values that are not observed are 0.

    Attributes:
        times: shape (time,).
        values: shape (time, channel).
        mask: shape (time, channel), True where a value was observed.
    """

    times: Float[Array | np.ndarray, "*batch time"]
    values: Float[Array | np.ndarray, "*batch time channel"]
    mask: Bool[Array | np.ndarray, "*batch time channel"]


class Grid(NamedTuple):
    """Where a series is scored or predicted: the context of a model of series.

    Attributes:
        times: shape (time,), rising, or falling from the start on, with the last one repeated as
            padding; None for the times that all series have in common.
        mask: shape (time, channel), True where the target counts.
    """

    times: Float[Array, "*batch time"] | None
    mask: Bool[Array, "*batch time channel"]


def pad(series: Sequence[TimeSeries]) -> TimeSeries:
    """Make one batch of series of different lengths.

    Args:
        series: each with times of shape (time,), values and mask of shape (time, channel); values
            that are not observed may be anything, NaN included.

    Returns:
        Numpy arrays with leading axes (series, longest time).

    Raises:
        ValueError: if there are no series, one is empty, shapes do not fit together, times are
            not finite or do not increase strictly, or an observed value is not finite.

    Example:
        >>> import numpy as np
        >>> from jaxvae.series import TimeSeries, pad
        >>> seen = np.ones((2, 1), bool)
        >>> short = TimeSeries(np.array([0.0, 2.5]), np.array([[1.0], [4.0]]), seen)
        >>> long = TimeSeries(np.arange(3.0), np.zeros((3, 1)), np.ones((3, 1), bool))
        >>> pad([short, long]).times.tolist()
        [[0.0, 2.5, 2.5], [0.0, 1.0, 2.0]]
    """
    if not series:
        raise ValueError("pad expected at least one series, got none")
    for number, each in enumerate(series):
        _check_series(f"series {number}", each)
    channels = {np.shape(each.values)[1] for each in series}
    if len(channels) > 1:
        raise ValueError(
            f"pad expected series with equally many channels, got {sorted(channels)}; "
            "add channels whose mask is False"
        )
    longest = max(len(each.times) for each in series)
    padded = [_padded(each, longest) for each in series]
    return TimeSeries(*(np.stack(arrays) for arrays in zip(*padded, strict=True)))


def unpad(batch: TimeSeries) -> list[TimeSeries]:
    """Take a batch apart into numpy series without their padding: the inverse of ``pad``."""
    times, values, mask = (np.asarray(array) for array in batch)
    lengths = 1 + (np.diff(times, axis=-1) > 0).sum(-1)
    return [
        TimeSeries(times[row, :length], values[row, :length], mask[row, :length])
        for row, length in enumerate(lengths)
    ]


def subsample(series: TimeSeries, count: int, *, key: PRNGKey) -> TimeSeries:
    """Keep some observed rows of ONE series, drawn without replacement, and drop all others.

    A row counts as observed if any of its channels is. Every set of ``count`` observed rows is
    equally likely, whatever the values in them. Where fewer are observed, all of them stay and
    the rest of the result is padding.

    Args:
        series: shapes (time,) and (time, channel); ``jax.vmap`` over a batch and its keys.
        count: rows of the result, at most those of the series.
        key: of the draw.

    Returns:
        A series of ``count`` rows in the order of time.

    Raises:
        ValueError: if there are not so many rows.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae.series import TimeSeries, subsample
        >>> seen = jnp.ones((100, 2), bool)
        >>> series = TimeSeries(jnp.arange(100.0), jnp.zeros((100, 2)), seen)
        >>> subsample(series, 30, key=jax.random.key(0)).values.shape
        (30, 2)
    """
    rows = series.times.shape[0]
    _check.positive("count", count)
    if count > rows:
        raise ValueError(f"count expected at most {rows}, the rows of the series, got {count}")
    observed = jnp.any(series.mask, axis=-1)
    # Ranks are drawn rather than numbers: numbers may tie, which would favour early rows.
    rank = jax.random.permutation(key, rows)
    drawn = jnp.argsort(jnp.where(observed, rank, rank + rows))[:count]
    # What is not observed goes to the end, where it becomes padding.
    kept = drawn[jnp.argsort(jnp.where(observed[drawn], drawn, drawn + rows))]
    there = observed[kept]
    times = jnp.asarray(series.times)[kept]
    last = jnp.max(jnp.where(there, times, jnp.min(series.times)))
    mask = jnp.asarray(series.mask)[kept] & there[:, None]
    values = jnp.where(mask, jnp.asarray(series.values)[kept], 0)
    return TimeSeries(jnp.where(there, times, last), values, mask)


def _check_series(name: str, series: TimeSeries) -> None:
    times, values, mask = (np.asarray(array) for array in series)
    shapes = f"times {times.shape}, values {values.shape}, mask {mask.shape}"
    fits = times.ndim == 1 and values.ndim == 2 and mask.shape == values.shape
    if not fits or len(times) != len(values):
        raise ValueError(
            f"{name} expected times (time,), values (time, channel) and a mask like the values, "
            f"got {shapes}"
        )
    if not len(times):
        raise ValueError(f"{name} expected at least one row, got none; leave it out")
    if not np.isfinite(times).all():
        raise ValueError(f"{name} expected finite times, got NaN or infinity; drop those rows")
    steps = np.diff(times)
    if not (steps > 0).all():
        row = int(np.argmin(steps > 0))
        raise ValueError(
            f"{name} expected times that increase strictly, got {times[row]} before "
            f"{times[row + 1]} in row {row + 1}; sort the rows and merge those of one time"
        )
    if not np.isfinite(values[mask]).all():
        raise ValueError(
            f"{name} expected finite observed values, got NaN or infinity; "
            "set the mask to False where there is no value"
        )


def _padded(series: TimeSeries, length: int) -> TimeSeries:
    times, values, mask = (np.asarray(array) for array in series)
    extra = length - len(times)
    return TimeSeries(
        np.pad(times, (0, extra), mode="edge"),
        np.pad(np.where(mask, values, 0), ((0, extra), (0, 0))),
        np.pad(mask, ((0, extra), (0, 0))),
    )
