"""From the numbers that files hold to float32 examples and int32 labels."""

import numpy as np
from jaxtyping import Float, Int32

from jaxvae.data.dataset import Split


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
