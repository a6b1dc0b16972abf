"""Data sets in memory, and the conversion of what files hold to them."""

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


def as_inputs(array: np.ndarray, name: str) -> Float[np.ndarray, "rows *event"]:
    """Turn an array with one example a row into float32.

    Args:
        array: uint8 grey values are divided by 255, booleans become 0 and 1, other integers and
            floats are taken as they are.
        name: what to call the array in messages.

    Raises:
        ValueError: for other types, fewer than two axes, no values, values that are not finite in
            float32, or uint8 that holds nothing above 1.
    """
    if array.ndim < 2:
        raise ValueError(
            f"{name}: expected one example a row, so at least two axes, got shape {array.shape}; "
            "reshape it to (rows, features)"
        )
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one value, got the empty shape {array.shape}")
    if array.dtype == np.uint8:
        return _from_grey(array, name)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name}: expected booleans, integers or floats, got {array.dtype}; convert it first"
        )
    # What is too large for float32 becomes infinite, which is refused below.
    with np.errstate(over="ignore"):
        inputs = array.astype(np.float32)
    if not np.isfinite(inputs).all():
        raise ValueError(
            f"{name}: expected values that are finite in float32, got NaN or infinity; "
            "remove or impute those rows"
        )
    return inputs


def _from_grey(array: np.ndarray, name: str) -> Float[np.ndarray, "rows *event"]:
    if array.max() <= 1:
        raise ValueError(
            f"{name}: expected uint8 grey values up to 255, got none above {array.max()}; "
            "store binary pixels as booleans"
        )
    return np.divide(array, 255, dtype=np.float32)


def as_labels(array: np.ndarray, rows: int, name: str) -> Int32[np.ndarray, "rows"]:
    """Turn integer labels into int32.

    Raises:
        ValueError: unless there is one integer a row, within the range of int32.
    """
    if array.shape != (rows,):
        raise ValueError(f"{name}: expected one label a row, shape ({rows},), got {array.shape}")
    if array.dtype.kind not in "biu":
        raise ValueError(f"{name}: expected integer labels, got {array.dtype}; number the classes")
    limits = np.iinfo(np.int32)
    if array.min() < limits.min or array.max() > limits.max:
        raise ValueError(
            f"{name}: expected labels within int32, got {array.min()} to {array.max()}; "
            "number the classes from 0"
        )
    return array.astype(np.int32)


def as_split(inputs: np.ndarray, labels: np.ndarray | None, name: str) -> Split:
    """Turn raw arrays into one part of a data set."""
    converted = as_inputs(inputs, name)
    if labels is None:
        return Split(converted)
    return Split(converted, as_labels(labels, len(converted), f"{name} labels"))
