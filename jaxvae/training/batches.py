"""The batches of a run: from rows that stay on the device, or from the blocks of a stream."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Int

from jaxvae._types import PRNGKey, PyTree
from jaxvae.data import Blocks, Stream, blocks, steps_per_epoch
from jaxvae.training.devices import BATCH_ROWS, ONE_DEVICE, Layout
from jaxvae.training.state import Purpose, TrainState, purpose_key

BLOCK_BYTES = 16 * 2**20
"""Size of the blocks that a stream is read in; two are in memory besides the one in use."""
MAX_BLOCK_STEPS = 256


class Resident(NamedTuple):
    """All rows of the data, which stay on the device; each epoch has an order of its own.

    Attributes:
        data: arrays with rows along the first axis.
    """

    data: PyTree

    @property
    def specs(self) -> Any:
        """How it is split over devices: each holds all of it."""
        return P()


class Block(NamedTuple):
    """The batches of consecutive steps, read from a stream.

    Attributes:
        first_step: the step that the first batch belongs to.
        batches: arrays with axes (step, row of the batch, ...).
    """

    first_step: Int[Array, ""]
    batches: PyTree

    @property
    def specs(self) -> Any:
        """How it is split over devices: each holds its share of every batch."""
        return Block(P(), BATCH_ROWS)  # pyright: ignore[reportArgumentType]


Batches = Resident | Block
"""Where a compiled chunk takes the rows of its steps from."""


def batch_of(
    batches: Batches,
    state: TrainState,
    step: Int[Array, ""],
    batch_size: int,
    layout: Layout = ONE_DEVICE,
) -> PyTree:
    """The batch of any step, outside the loop of training."""
    if isinstance(batches, Block):
        return _of_block(batches, step)
    size = num_rows(batches.data)
    per_epoch = size // batch_size
    order = random_order(purpose_key(state.key, Purpose.ORDER, step // per_epoch), size)
    return _of_order(batches.data, order, step % per_epoch, batch_size, layout)


def for_each_step(
    take_step: Callable[[Any, PyTree], Any],
    carry: tuple[Any, ...],
    batches: Batches,
    stop: Int[Array, ""],
    batch_size: int,
    layout: Layout,
) -> Any:
    """Call ``take_step(carry, rows)`` for each step from that of the state up to ``stop``.

    Both may be traced. For resident data a loop over epochs, each of which sorts once, encloses a
    loop over batches.

    Args:
        take_step: from a carry and a device's share of the batch to the next carry.
        carry: a tuple whose first entry is the state, whose step is the first one.
        batches: where the rows come from.
        stop: the step to stop before.
        batch_size: rows per step.
        layout: the devices that share the rows of a batch.
    """
    if isinstance(batches, Block):
        return lax.fori_loop(
            carry[0].step, stop, lambda step, c: take_step(c, _of_block(batches, step)), carry
        )
    size, key = num_rows(batches.data), carry[0].key
    per_epoch = size // batch_size

    def epoch(carry):
        number = carry[0].step // per_epoch
        order = random_order(purpose_key(key, Purpose.ORDER, number), size)
        first = carry[0].step - number * per_epoch
        last = jnp.minimum(stop - number * per_epoch, per_epoch)

        def step(index, carry_and_order):
            carry, order = carry_and_order
            rows = _of_order(batches.data, order, index, batch_size, layout)
            return take_step(carry, rows), order

        return lax.fori_loop(first, last, step, (carry, order))[0]

    return lax.while_loop(lambda carry: carry[0].step < stop, epoch, carry)


def random_order(key: PRNGKey, size: int) -> Int[Array, " rows"]:
    """A random permutation, by one sort of random bits instead of two.

    ``jax.random.permutation`` sorts a second time because of ties; 60,000 rows have half a pair
    of equal bits on average.
    """
    return jnp.argsort(jax.random.bits(key, (size,)))


def _of_block(block: Block, step: Int[Array, ""]) -> PyTree:
    index = step - block.first_step
    return jax.tree.map(
        lambda array: lax.dynamic_index_in_dim(array, index, keepdims=False), block.batches
    )


def _of_order(
    data: PyTree, order: Array, number: Int[Array, ""], batch_size: int, layout: Layout
) -> PyTree:
    index = layout.own(lax.dynamic_slice_in_dim(order, number * batch_size, batch_size))
    return jax.tree.map(partial(_take_rows, index), data)


def _take_rows(index: Int[Array, " batch"], array: Array) -> Array:
    # Rows are copied in one piece each; an image's short rows would be copied one by one.
    flat = array.reshape(array.shape[0], -1)[index]
    return flat.reshape(index.shape[0], *array.shape[1:])


class ArrayFeed:
    """Feeds chunks from arrays: every chunk gets all rows, however many steps it takes.

    Args:
        data: pytree of arrays with rows along the first axis.
        batch_size: rows per step.
        layout: the devices.
    """

    waited = 0.0

    def __init__(self, data: PyTree, batch_size: int, layout: Layout):
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch(num_rows(data), batch_size)
        self._resident = Resident(layout.put_shared(data))

    def upto(self, step: int, stop: int) -> tuple[Batches, int]:
        """What the chunk from ``step`` takes, and how far that reaches."""
        del step
        return self._resident, stop

    def close(self) -> None:
        """Nothing is open."""


class StreamFeed:
    """Feeds chunks from a stream, whose next block is read while the one before is trained on.

    Args:
        stream: the data.
        batch_size: rows per step, of all processes together.
        layout: the devices.

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
        self._end = 0

    def upto(self, step: int, stop: int) -> tuple[Batches, int]:
        """The block that holds ``step``, and how far it reaches."""
        if self._blocks is None:
            self._open(step)
        if step >= self._end:
            started = time.perf_counter()
            assert self._next is not None
            self._block = self._next.result()
            self.waited += time.perf_counter() - started
            self._end += self._steps
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
        batches = self._layout.put_batches(next(self._blocks))
        block = Block(self._layout.put_shared(np.int32(first_step)), batches)
        return jax.block_until_ready(block)


def open_feed(data: Any, batch_size: int, layout: Layout) -> ArrayFeed | StreamFeed:
    """A feed for arrays or a stream.

    Raises:
        ValueError: if the data cannot fill one batch or the leaves disagree in length.
    """
    kind = StreamFeed if isinstance(data, Stream) else ArrayFeed
    return kind(data, batch_size, layout)


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
