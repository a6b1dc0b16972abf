"""Training data larger than memory: sources of examples by number, and streams over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxvae._check import positive
from jaxvae._types import PyTree


@dataclass(frozen=True)
class Stream:
    """Training data made by ``stream``.

    Attributes:
        source: examples by number.
        seed: of the order.
        transform: from a batch of examples to the batch that is trained on, or None.
    """

    source: Any
    seed: int = 0
    transform: Callable[[PyTree], PyTree] | None = None


def stream(
    source: Any, *, seed: int = 0, transform: Callable[[PyTree], PyTree] | None = None
) -> Stream:
    """Make training data of examples that are read when they are needed.

    Args:
        source: ``ArrayRecords``, ``Rows`` of memory-mapped arrays, a split of ``tfds.data_source``,
            a ``grain.MapDataset``, or anything else with a length and ``source[i]``, which is the
            i-th example: a pytree of numpy arrays and numbers of the same shapes each time. It is
            read by many rows at once where it has ``gather(indices)``, which returns them stacked,
            or ``__getitems__(indices)``, which returns a list; and by several threads at once if
            these are asked for.
        seed: of the order of the rows, at least 0.
        transform: from a batch, a pytree of numpy arrays of shape (batch, *event), to one of as
            many rows: decoding, scaling, choosing fields. It must depend on its argument alone.

    Raises:
        ValueError: if the source has no length, no rows or no ``__getitem__``, the seed is
            negative or the transform cannot be called.

    Example:
        >>> import numpy as np
        >>> from jaxvae.data import Rows, blocks, stream
        >>> grey = Rows(np.zeros((1000, 28, 28), np.uint8))
        >>> data = stream(grey, transform=lambda images: images / np.float32(255))
        >>> next(blocks(data, batch_size=50, first_step=0, block_steps=10)).shape
        (10, 50, 28, 28)
    """
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise ValueError(
            f"stream expected a source with __len__ and __getitem__, got {type(source).__name__}; "
            "convert data that can only be read sequentially with write_array_records first"
        )
    if isinstance(source, (dict, str, bytes)):
        raise ValueError(
            f"stream expected a source of examples, got a {type(source).__name__}; "
            "wrap arrays in Rows"
        )
    if len(source) < 1:
        raise ValueError("stream expected a source with at least one example, got an empty one")
    if seed < 0:
        raise ValueError(f"seed expected an integer of at least 0, got {seed}")
    if transform is not None and not callable(transform):
        raise ValueError(f"transform expected a function of a batch, got {transform!r}")
    return Stream(source, seed, transform)


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """The number of whole batches in an epoch; rows that fill no batch are left out of it.

    Raises:
        ValueError: if the rows do not fill a single batch.
    """
    positive("batch_size", batch_size)
    if num_rows < batch_size:
        raise ValueError(
            f"expected at least batch_size = {batch_size} rows, got {num_rows}; reduce batch_size"
        )
    return num_rows // batch_size


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
        ValueError: unless there is an example for each index, all of one structure and shape.
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
