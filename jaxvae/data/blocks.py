"""Blocks of training batches, read ahead in the background by grain."""

import sys
import weakref
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int64, Shaped

from jaxvae._check import positive
from jaxvae._types import PyTree
from jaxvae.data.order import rows_at
from jaxvae.data.stream import Stream, check_rows, gather, steps_per_epoch


def blocks(
    stream: Stream,
    *,
    batch_size: int,
    first_step: int,
    block_steps: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 1,
) -> "Blocks":
    """Read batches without end, starting at a given step, in blocks of consecutive steps.

    The batch of step s holds the rows that stand at s * batch_size, … in the endless sequence of
    epochs, each with an order of its own: a pure function of (stream, s, batch_size). So a run's
    position in its data is its step: a resumed run gives ``first_step``, and nothing else is saved.
    Processes share a batch: process p of P has its p-th part, and together they have the batch of
    a single process.

    Args:
        stream: what is read.
        batch_size: rows of a batch, over all processes.
        first_step: the step of the first batch, counted from 0.
        block_steps: batches of a block. A block is read at once, at a cost per row that falls with
            its size; a thousand rows are enough.
        process_index: which process this is, ``jax.process_index()``.
        process_count: how many there are, ``jax.process_count()``.
        threads: how many blocks are read at the same time, in the background; ``threads`` + 1
            blocks are kept in memory beside the one in use. With 0 a block is read on demand, in
            the caller's thread.

    Returns:
        An iterator over pytrees of numpy arrays of shape (block_steps, batch_size / process_count,
        *event), which starts to read immediately. Close or delete it to stop reading.

    Raises:
        ValueError: if a number is out of range or the batch cannot be divided; on iteration, if
            the source or the transform fails, with the step and the rows.
    """
    epoch_steps = steps_per_epoch(len(stream.source), batch_size)
    positive("block_steps", block_steps)
    positive("process_count", process_count)
    for name, value in (("first_step", first_step), ("threads", threads)):
        if value < 0:
            raise ValueError(f"{name} expected an integer of at least 0, got {value}")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index expected 0 to {process_count - 1}, got {process_index}")
    if batch_size % process_count:
        raise ValueError(
            f"batch_size expected a multiple of the {process_count} processes, got {batch_size}"
        )
    share = batch_size // process_count
    columns = process_index * share + np.arange(share)
    return Blocks(
        _BlockSource(stream, batch_size, epoch_steps, columns, first_step, block_steps), threads
    )


class Blocks:
    """An iterator over blocks with threads behind it; made by ``blocks``."""

    def __init__(self, source: Any, threads: int):
        import grain

        ahead = threads + 1 if threads else 0
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        self._iterator = iter(grain.MapDataset.source(source).to_iter_dataset(options))
        self._close = weakref.finalize(self, self._iterator.close)
        self._iterator.start_prefetch()

    def __iter__(self) -> "Blocks":
        return self

    def __next__(self) -> PyTree:
        block = next(self._iterator)
        if isinstance(block, _Fault):
            self.close()
            raise block.error
        return block

    def close(self) -> None:
        """Stop reading; each thread ends after its current block."""
        self._close()

    def __enter__(self) -> "Blocks":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Fault(NamedTuple):
    """An error in a block; raised inside grain it would get a message of grain's own."""

    error: ValueError


class _BlockSource:
    """All blocks by number, as grain wants its sources.

    An element is a whole block, so that grain's cost per element, a source's cost per call and the
    stacking are paid once for each block.
    """

    def __init__(
        self,
        stream: Stream,
        batch_size: int,
        epoch_steps: int,
        columns: Int64[np.ndarray, "share"],
        first_step: int,
        block_steps: int,
    ):
        self._stream = stream
        self._batch_size = batch_size
        self._epoch_steps = epoch_steps
        self._columns = columns
        self._first_step = first_step
        self._block_steps = block_steps

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, number: int) -> PyTree:
        try:
            return self._block(number)
        except ValueError as error:
            return _Fault(error)

    def _block(self, number: int) -> PyTree:
        first = self._first_step + number * self._block_steps
        steps = np.arange(first, first + self._block_steps)
        rows = self._rows(steps)
        try:
            gathered = gather(self._stream.source, rows.reshape(-1))
        # A source is the user's own: whatever it raises is reported with the rows it was reading.
        except Exception as fault:
            raise self._located(steps, rows, fault) from fault
        block = jax.tree.map(lambda leaf: leaf.reshape(*rows.shape, *leaf.shape[1:]), gathered)
        return block if self._stream.transform is None else self._transformed(block, steps, rows)

    def _rows(self, steps: Int64[np.ndarray, "steps"]) -> Int64[np.ndarray, "steps share"]:
        epochs, within = np.divmod(steps, self._epoch_steps)
        positions = within[:, None] * self._batch_size + self._columns
        rows = np.empty_like(positions)
        for epoch in range(epochs[0], epochs[-1] + 1):
            chosen = epochs == epoch
            rows[chosen] = rows_at(
                positions[chosen].reshape(-1),
                count=len(self._stream.source),
                seed=self._stream.seed,
                epoch=epoch,
            ).reshape(-1, len(self._columns))
        return rows

    def _located(
        self,
        steps: Int64[np.ndarray, "steps"],
        rows: Int64[np.ndarray, "steps share"],
        fault: Exception,
    ) -> ValueError:
        """Read the rows of a block one by one, to say at which of them the source fails."""
        for step, batch in zip(steps.tolist(), rows, strict=True):
            faults = {}
            for row in batch.tolist():
                try:
                    gather(self._stream.source, np.array([row]))
                except Exception as alone:
                    faults[row] = alone
            if faults:
                listed, first = ", ".join(map(str, faults)), next(iter(faults.values()))
                return ValueError(
                    f"step {step}: expected the source to give its rows, it failed at {listed}: "
                    f"{first}"
                )
        return ValueError(
            f"steps {steps[0]} to {steps[-1]}: expected the source to give the rows "
            f"{_abridged(rows)}, it failed, though not at any of them alone: {fault}"
        )

    def _transformed(
        self,
        block: PyTree,
        steps: Int64[np.ndarray, "steps"],
        rows: Int64[np.ndarray, "steps share"],
    ) -> PyTree:
        """Transform batch by batch, so that the result does not depend on the block's length."""
        transform, whole = self._stream.transform, None
        assert transform is not None
        for number, step in enumerate(steps.tolist()):
            batch = jax.tree.map(lambda leaf, number=number: leaf[number], block)
            try:
                batch = jax.tree.map(np.asarray, transform(batch))
                check_rows(batch, rows.shape[1], "transform")
                if whole is None:
                    whole = jax.tree.map(
                        lambda leaf: np.empty_like(leaf, shape=(len(steps), *leaf.shape)), batch
                    )
                jax.tree.map(
                    lambda room, leaf, number=number: _put(room[number], leaf), whole, batch
                )
            except Exception as fault:
                raise ValueError(
                    f"step {step}: the transform failed at the rows {_abridged(rows[number])}: "
                    f"{fault}"
                ) from fault
        return whole


def _put(room: Shaped[np.ndarray, "*batch"], leaf: Shaped[np.ndarray, "*other"]) -> None:
    if (leaf.shape, leaf.dtype) != (room.shape, room.dtype):
        raise ValueError(
            f"expected {room.dtype} of shape {room.shape} as at the step before, got {leaf.dtype} "
            f"of shape {leaf.shape}"
        )
    room[...] = leaf


def _abridged(rows: Int64[np.ndarray, "..."]) -> str:
    numbers = rows.reshape(-1).tolist()
    listed = ", ".join(map(str, numbers[:16]))
    return listed if len(numbers) <= 16 else f"{listed}, … ({len(numbers)} in all)"
