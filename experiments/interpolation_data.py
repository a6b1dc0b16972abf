"""Irregular series on grids of common times: sinusoids, and records of intensive care."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jaxvae
from experiments.running import Running, own_keys
from jaxvae import data


@dataclass(frozen=True)
class Problem:
    """The series."""

    dataset: Literal["periodic", "physionet"] = "periodic"
    """Simulated sinusoids, or records of intensive care."""
    data_dir: str | None = None
    """Folder with the original files; JAXVAE_DATA comes after it."""
    observed_fraction: float = 0.2
    """Of the points of a periodic series."""
    series: int = 1000
    """Periodic series, of which a fifth are tested on."""


class Rows(NamedTuple):
    """Series on a grid of times that all have in common.

    Attributes:
        observed: what is encoded, each at its own times.
        places: where on the grid the rows of ``values`` and ``mask`` belong.
        values: what is compared, (series, row, channel).
        mask: likewise, True where there is a value.
    """

    observed: jaxvae.TimeSeries
    places: Array | np.ndarray
    values: Array | np.ndarray
    mask: Array | np.ndarray


class Series(NamedTuple):
    """The data of a run.

    Attributes:
        times: the grid.
        train: what is learnt from.
        test: what is reported.
        seen: rows of a training series that are encoded, drawn anew at each step; None for all.
    """

    times: tuple[float, ...]
    train: Rows
    test: Rows
    seen: int | None


def load(problem: Problem, running: Running) -> Series:
    """The series of a data set, divided 80 : 20."""
    return (_periodic if problem.dataset == "periodic" else _physionet)(problem, running)


def _periodic(problem: Problem, running: Running) -> Series:
    drawn = data.periodic(
        problem.series, observed_fraction=problem.observed_fraction, key=own_keys(running)[0]
    )
    target, train = drawn.target, problem.series - problem.series // 5
    places = np.broadcast_to(np.arange(target.times.shape[1]), target.times.shape)
    whole, partial = (
        Rows(observed, places, target.values, target.mask) for observed in (target, drawn.observed)
    )
    return Series(
        times=tuple(np.asarray(target.times[0], float).tolist()),
        train=jax.tree.map(lambda x: x[:train], whole),
        test=jax.tree.map(lambda x: x[train:], partial),
        seen=drawn.observed.times.shape[1],
    )


def _physionet(problem: Problem, running: Running) -> Series:
    bins = 480
    records = data.physionet2012(
        problem.data_dir, time_unit=48.0, range_over_all=True, seed=running.seed
    )

    def rows(part: data.IcuRecords) -> Rows:
        series = part.series
        return Rows(series, np.rint(series.times * bins).astype(int), series.values, series.mask)

    times = tuple((np.arange(bins + 1) / bins).tolist())
    return Series(times, rows(records.train), rows(records.test), seen=None)


def example_of(
    length: int, row: Rows, *, key: Any = None, seen: int | None = None
) -> jaxvae.Example:
    """Encoder's input, of as many rows as are seen, and the target on the grid."""
    inputs = row.observed if seen is None else jaxvae.series.subsample(row.observed, seen, key=key)
    # Padding repeats a row's time: adding keeps what is observed there.
    zeros = jnp.zeros((length, row.values.shape[-1]), row.values.dtype)
    counts = zeros.at[row.places].add(row.mask.astype(zeros.dtype))
    sums = zeros.at[row.places].add(jnp.where(row.mask, row.values, 0))
    target = sums / jnp.maximum(counts, 1)
    return jaxvae.Example(inputs, target, jaxvae.Grid(None, counts > 0))
