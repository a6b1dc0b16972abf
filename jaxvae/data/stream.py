"""Training data larger than memory: a source of examples and the order that they come in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxvae._check import positive
from jaxvae._types import PyTree


@dataclass(frozen=True)
class Stream:
    """What is trained on, made by ``stream``.

    Attributes:
        source: examples by number.
        seed: of the order.
        transform: from a batch of examples to a batch of what is trained on, or None.
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
            "write what can only be read from beginning to end with write_array_records first"
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
    """Count the whole batches of an epoch; the rows that fill no batch are left out of it.

    Raises:
        ValueError: if there is none.
    """
    positive("batch_size", batch_size)
    if num_rows < batch_size:
        raise ValueError(
            f"expected at least batch_size = {batch_size} rows, got {num_rows}; reduce batch_size"
        )
    return num_rows // batch_size
