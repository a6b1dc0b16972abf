"""What a data set is here: arrays in memory, divided into parts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32

VALIDATION_STREAM = 0
TEST_STREAM = 1
PIXEL_STREAM = 2


class Split(NamedTuple):
    """One part of a data set, one example a row.

    Attributes:
        inputs: shape (rows, height, width), (rows, height, width, channels) or (rows, features);
            image sets are in [0, 1].
        labels: shape (rows,), or None where there are none.
    """

    inputs: Float[np.ndarray, "rows *event"]
    labels: Int32[np.ndarray, "rows"] | None = None


class Dataset(NamedTuple):
    """A data set and what has been done to it.

    Attributes:
        name: what it was loaded by.
        train: what is learnt from.
        validation: what choices are made on, or None.
        test: what is reported.
        binarisation: what has been done to the pixels: ``"none"`` (as they came),
            ``"fixed (Larochelle)"`` or ``"static, seed N"``.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split
    binarisation: str = "none"


def random_stream(seed: int, *tags: int) -> np.random.Generator:
    """Make the random stream of one purpose, independent of those with other tags."""
    if seed < 0:
        raise ValueError(f"seed expected an integer of at least 0, got {seed}")
    return np.random.default_rng([seed, *tags])


def take(split: Split, rows: Int[np.ndarray, "taken"]) -> Split:
    """Take some rows of a part, labels included."""
    return Split(split.inputs[rows], None if split.labels is None else split.labels[rows])


def hold_out(split: Split, count: int, generator: np.random.Generator) -> tuple[Split, Split]:
    """Divide a part at random into what is kept and ``count`` rows held out, each in order."""
    total = len(split.inputs)
    if not 0 < count < total:
        raise ValueError(
            f"expected to hold out between 1 and {total - 1} of {total} rows, got {count}"
        )
    order = generator.permutation(total)
    return take(split, np.sort(order[count:])), take(split, np.sort(order[:count]))


def with_validation(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Hold ``count`` rows of the train part out for validation; 0 changes nothing.

    Raises:
        ValueError: if the data set brings its own validation part, or has too few rows.
    """
    if count == 0:
        return dataset
    if dataset.validation is not None:
        raise ValueError(
            f"{dataset.name} brings its own validation part of "
            f"{len(dataset.validation.inputs)} rows, got validation={count}; leave it out"
        )
    train, validation = hold_out(dataset.train, count, random_stream(seed, VALIDATION_STREAM))
    return dataset._replace(train=train, validation=validation)
