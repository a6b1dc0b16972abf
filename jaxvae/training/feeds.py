"""From the data that ``fit`` is given to what a compiled chunk takes."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxvae import _check
from jaxvae._types import PyTree
from jaxvae.data import Blocks, Stream, blocks
from jaxvae.training.devices import Layout
from jaxvae.training.rows import Block, Feed

BLOCK_BYTES = 16 * 2**20
"""Size of the blocks that a stream is read in; two are in memory besides the one in use."""
MAX_BLOCK_STEPS = 256


class ArrayFeed:
    """All rows on the device: every chunk gets them, however many steps it takes.

    Args:
        data: pytree of arrays with rows along the first axis.
        batch_size: rows per step.
        layout: of the devices.
    """

    waited = 0.0

    def __init__(self, data: PyTree, batch_size: int, layout: Layout):
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch(num_rows(data), batch_size)
        self._rows = layout.put_rows(data)

    def upto(self, step: int, stop: int) -> tuple[Feed, int]:
        """What the chunk from ``step`` takes, and how far that reaches."""
        del step
        return self._rows, stop

    def close(self) -> None:
        """Nothing is open."""


class StreamFeed:
    """Blocks of batches, read and put on the device while the block before is trained on.

    Args:
        stream: the data.
        batch_size: rows per step, of all processes together.
        layout: of the devices.

    Attributes:
        waited: seconds that training has waited for a block so far.
    """

    def __init__(self, stream: Stream, batch_size: int, layout: Layout):
        self.steps_per_epoch = steps_per_epoch(len(stream.source), batch_size)
        self.batch_size, self.waited = batch_size, 0.0
        self._stream, self._layout = stream, layout
        self._executor = ThreadPoolExecutor(1, "jaxvae-stream")
        self._blocks: Blocks | None = None
        self._next: Future[Block] | None = None
        self._block: Block | None = None
        self._first = self._end = 0

    def upto(self, step: int, stop: int) -> tuple[Feed, int]:
        """The block that holds ``step``, and how far it reaches."""
        if self._blocks is None:
            self._open(step)
        if step >= self._end:
            started = time.perf_counter()
            assert self._next is not None
            self._block = self._next.result()
            self.waited += time.perf_counter() - started
            self._first, self._end = self._end, self._end + self._steps
            self._next = self._executor.submit(self._read, self._end)
        assert self._block is not None
        return self._block, min(stop, self._end)

    def close(self) -> None:
        """Stop reading."""
        self._executor.shutdown(cancel_futures=True)
        if self._blocks is not None:
            self._blocks.close()

    def _open(self, step: int) -> None:
        read = partial(
            blocks,
            self._stream,
            batch_size=self.batch_size,
            first_step=step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        with read(block_steps=1, threads=0) as one:
            one_step = sum(leaf.nbytes for leaf in jax.tree.leaves(next(one)))
        self._steps = min(max(1, BLOCK_BYTES // one_step), MAX_BLOCK_STEPS)
        self._blocks = read(block_steps=self._steps)
        self._end = step
        self._next = self._executor.submit(self._read, step)

    def _read(self, first_step: int) -> Block:
        assert self._blocks is not None
        block = self._layout.put_block(first_step, next(self._blocks))
        return jax.block_until_ready(block)


def open_feed(data: Any, batch_size: int, layout: Layout) -> ArrayFeed | StreamFeed:
    """A feed for arrays or a stream.

    Raises:
        ValueError: if the data cannot fill one batch or the leaves disagree in length.
    """
    kind = StreamFeed if isinstance(data, Stream) else ArrayFeed
    return kind(data, batch_size, layout)


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Number of whole batches in the rows.

    Raises:
        ValueError: if there is none.
    """
    _check.positive("batch_size", batch_size)
    if num_rows < batch_size:
        raise ValueError(
            f"expected at least batch_size = {batch_size} rows, got {num_rows}; reduce batch_size"
        )
    return num_rows // batch_size


def num_rows(data: PyTree) -> int:
    """The common number of rows.

    Raises:
        ValueError: if there is none.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(data)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"fit expected arrays with one common number of rows, got shapes {shapes[:5]}; "
            "rows lie along the first axis of every array"
        )
    return shapes[0][0]
