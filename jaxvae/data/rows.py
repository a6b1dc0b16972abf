"""Examples by number: arrays as a source of them, and reading many from any source at once."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxvae._types import PyTree


class Rows:
    """Arrays as a source for ``stream``: one example a row, along the first axis of each.

    A memory-mapped array, ``numpy.load(file, mmap_mode="r")``, may be larger than memory and is
    the fastest source there is: its rows are copied once, from the page cache.

    Args:
        arrays: one array or a pytree of arrays, each of shape (rows, *event).

    Raises:
        ValueError: if there are no arrays or they differ in their number of rows.

    Example:
        >>> import numpy as np
        >>> from jaxvae.data import Rows
        >>> rows = Rows({"image": np.zeros((5, 28, 28)), "label": np.arange(5)})
        >>> len(rows), rows[3]["label"].item()
        (5, 3)
    """

    def __init__(self, arrays: PyTree):
        leaves = jax.tree.leaves(arrays)
        lengths = {np.shape(leaf)[:1] for leaf in leaves}
        if len(lengths) != 1 or lengths == {()}:
            listed = ", ".join(str(np.shape(leaf)) for leaf in leaves) or "none"
            raise ValueError(
                f"Rows expected arrays with one example a row and equally many rows, got {listed}"
            )
        self._arrays = arrays
        self._count = lengths.pop()[0]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> PyTree:
        if not 0 <= index < self._count:
            raise IndexError(f"expected a row from 0 to {self._count - 1}, got {index}")
        return jax.tree.map(lambda array: array[index], self._arrays)

    def gather(self, indices: Int[np.ndarray, "n"]) -> PyTree:
        """Read rows; every leaf has shape (n, *event)."""
        return jax.tree.map(lambda array: np.asarray(array[indices]), self._arrays)


def gather(source: Any, indices: Int[np.ndarray, "n"]) -> PyTree:
    """Read examples in the fastest way that the source offers and stack them.

    Args:
        source: has ``gather(indices)``, ``__getitems__(list of int)`` or ``__getitem__(int)``.
        indices: which examples, in any order.

    Returns:
        Numpy arrays of shape (n, *event).

    Raises:
        ValueError: if what comes is not one example of one structure and shape for each index.
    """
    if hasattr(source, "gather"):
        batch = jax.tree.map(np.asarray, source.gather(indices))
    elif hasattr(source, "__getitems__"):
        batch = _stacked(source.__getitems__(indices.tolist()))
    else:
        batch = _stacked([source[index] for index in indices.tolist()])
    check_rows(batch, len(indices), "a source")
    return batch


def check_rows(batch: PyTree, count: int, owner: str) -> None:
    """Raise unless a pytree has arrays and each has ``count`` rows."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if not shapes or any(shape[:1] != (count,) for shape in shapes):
        raise ValueError(
            f"{owner} expected to give arrays of shape ({count}, …), got "
            f"{', '.join(map(str, shapes)) or 'no arrays'}"
        )


def _stacked(examples: Sequence[PyTree]) -> PyTree:
    if any(example is None for example in examples):
        raise ValueError(
            "a source expected to give an example for every index, got None; filter the rows when "
            "they are written, not when they are read"
        )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)
