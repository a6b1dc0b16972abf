"""The Python side of training: what happens between compiled chunks."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.stages import Compiled
from tqdm.auto import tqdm

from jaxvae._types import PyTree
from jaxvae.model import Estimate
from jaxvae.training.batches import ArrayFeed, Batches, StreamFeed, batch_of
from jaxvae.training.chunk import Report
from jaxvae.training.devices import agree, member_of, put_member
from jaxvae.training.failures.diagnosis import Diagnosis, diagnose
from jaxvae.training.failures.failure import (
    RUN_TIME_ERRORS,
    Failure,
    InterruptedStepError,
    NonFiniteError,
    message_of,
    save_failure,
)
from jaxvae.training.runs.run import Run
from jaxvae.training.state import TrainState
from jaxvae.training.step import TrainStep

PROFILED_CHUNK = 3
"""Which chunk is profiled: the first ones are short, and not typical."""
TARGET_SECONDS = 1.0
"""How long a chunk takes: it costs nothing, and signals, checkpoints and the bar do not wait."""
FIRST_STEPS = 8
"""Steps of the first chunk."""
GROWTH = 8
"""How many times as many steps as the chunk before it a chunk has at most."""
OnFailure = Literal["raise", "skip", "halt"]


@runtime_checkable
class Callback(Protocol):
    """Called after each log record with the state and that record.

    The next chunk reuses the state's buffers: copy what is to be kept.
    """

    def __call__(self, state: TrainState, record: dict[str, Any], /) -> None:
        """React to a log record."""
        ...


@dataclass
class Loop:
    """Training from a state on.

    Attributes:
        train_step: how a step is taken.
        chunk: ``train_chunk`` of all members, compiled.
        state: where to begin, whose buffers are used up; afterwards where training ended.
        hyperparameters: of the members.
        feed: of the data.
        held_out: rows that are evaluated at each log record, or None.
        on_failure: what to do when something is not finite.
        run: the folder of the run, or None.
        callbacks: called after each log record.
        bar: the progress bar.
        profile: folder for a profile of one chunk, or None.
        history: the log records so far.
    """

    train_step: TrainStep
    chunk: Compiled
    state: TrainState
    hyperparameters: PyTree
    feed: ArrayFeed | StreamFeed
    held_out: PyTree
    on_failure: OnFailure
    run: Run | None
    callbacks: Sequence[Callback]
    bar: tqdm
    profile: str | Path | None
    history: list[dict[str, Any]] = field(default_factory=list)

    def train(self, num_steps: int, every: int) -> None:
        """Go on up to a step, with a log record every so many."""
        self._step, self._chunk_steps, self._chunks = int(self.state.step), FIRST_STEPS, 0
        self._alive = np.asarray(jax.device_get(self.state.watch.alive))
        while self._step < num_steps and self._alive.any():
            record_at = min(self._step + every - self._step % every, num_steps)
            window, interrupted, held_out = _Window(self._step, self.feed), False, None
            while self._step < record_at and self._alive.any() and not interrupted:
                report, was_alive = self._train_chunk(record_at)
                window.add(report, was_alive)
                held_out = report.held_out if self._step == record_at else None
                interrupted = self._keep()
            if window.steps_to(self._step):
                self._log(window.record(self._step, held_out))
            if interrupted or self._keep():
                raise KeyboardInterrupt

    def _train_chunk(self, record_at: int) -> tuple[Report, np.ndarray]:
        stop = min(record_at, self._step + self._chunk_steps)
        checkpoint_at = None if self.run is None else self.run.next_checkpoint(self._step)
        (stop,) = agree(stop if checkpoint_at is None else min(stop, checkpoint_at))
        batches, stop = self.feed.upto(self._step, stop)
        # For a diagnosis: the state's own buffers are donated to the chunk.
        before = jax.tree.map(jnp.copy, self.state)
        numbers = self._put_numbers(stop, stop == record_at)
        started = time.perf_counter()
        try:
            with self._profiling():
                self.state, report = jax.block_until_ready(
                    self.chunk(self.state, self.hyperparameters, batches, self.held_out, *numbers)
                )
        except RUN_TIME_ERRORS as error:
            self._interrupt(error, before, stop)
            raise
        report = jax.device_get(report)
        self._set_pace(stop - self._step, time.perf_counter() - started)
        was_alive, failed = self._alive, self._failed(report)
        if failed.any():
            self._repair(before, batches, stop, failed)
        self._alive = np.asarray(report.alive & ~failed)
        self.bar.update(int(self.state.step) - self._step)
        self._step = int(self.state.step)
        return report, was_alive

    def _put_numbers(self, stop: int, evaluate: bool) -> tuple[Any, Any]:
        return self.train_step.layout.put_shared((np.int32(stop), np.bool_(evaluate)))

    def _set_pace(self, steps: int, seconds: float) -> None:
        """Choose the length of the next chunk; it changes no result, only how long Python waits."""
        wanted = int(steps * TARGET_SECONDS / max(seconds, 1e-6))
        self._chunk_steps = max(1, min(wanted, GROWTH * self._chunk_steps))

    def _profiling(self) -> AbstractContextManager[Any]:
        self._chunks += 1
        if self.profile is None or self._chunks != PROFILED_CHUNK:
            return nullcontext()
        return jax.profiler.trace(str(self.profile))

    def _interrupt(self, error: Exception, before: TrainState, stop: int) -> None:
        """Save the state before a chunk that raised an error of the loss, and pass the error on."""
        message, where = message_of(error), ""
        if message is None:
            return
        self.state = before
        if self.run is not None:
            self.run.save(before)
            self.run.checkpoints.wait()
            where = f" (the state at step {self._step} is saved in {self.run.directory})"
        raise InterruptedStepError(self._step, stop, message, where) from None

    def _failed(self, report: Report) -> np.ndarray:
        bad_surrogate = report.bad_step >= 0
        if self.on_failure == "skip":
            bad_surrogate = np.zeros_like(bad_surrogate)
        return np.asarray(bad_surrogate | ~report.finite)

    @cached_property
    def _diagnose(self) -> Callable[..., tuple[TrainState, Diagnosis]]:
        only_updates = self.on_failure == "skip"
        repeat = partial(diagnose, self.train_step, only_updates=only_updates)
        layout = self.train_step.layout
        return jax.jit(layout.spread(repeat), out_shardings=layout.shared)

    def _repair(self, before: TrainState, batches: Batches, stop: int, failed: np.ndarray) -> None:
        """Put each member that failed back to the state before its bad step, or raise."""
        layout, size = self.train_step.layout, self.train_step.batch_size
        put_stop, _ = self._put_numbers(stop, False)
        good, diagnosis = self._diagnose(before, self.hyperparameters, batches, put_stop)
        diagnosis = jax.device_get(diagnosis)
        # In the order of steps, so that the error that is raised is that of the first one.
        for index in sorted(np.flatnonzero(failed), key=np.atleast_1d(diagnosis.step).__getitem__):
            member = int(index) if failed.ndim else None
            mine = diagnosis if member is None else diagnosis.of(member)
            found, step = mine.step >= 0, int(mine.step if mine.step >= 0 else before.step)
            if jax.process_count() > 1:
                # The state is spread over the processes; each knows the diagnosis, and no more.
                raise FloatingPointError(f"{mine.quantity()} was not finite at step {step}")
            state = member_of(good if found else before, member)
            state = state._replace(step=jnp.asarray(step, jnp.int32))
            quantity = "something (not so when repeated)"
            if found:
                quantity = mine.quantity(self.on_failure == "skip")
            number = layout.put_shared(np.int32(step))
            rows = jax.jit(batch_of, static_argnums=3)(batches, state, number, size)
            self._report(Failure(step, member, quantity, state, jax.device_get(rows)))
            failed_at = jnp.asarray(step, jnp.int32)
            frozen = state._replace(watch=state.watch._replace(failed_at=failed_at))
            self.state = put_member(self.state, member, frozen)

    def _report(self, failure: Failure) -> None:
        """Save a failure, and raise it or print it."""
        where = ""
        if self.run is not None:
            where = f" (saved in {save_failure(self.run.directory, failure)})"
        if self.on_failure != "halt":
            raise NonFiniteError(failure, where)
        self.bar.write(f"halted: {failure.describe()}{where}")

    def _keep(self) -> bool:
        """Save the state if a checkpoint is due; whether to stop, as a signal asks for it."""
        if self.run is None:
            return False
        due, interrupted = agree(self.run.due(self._step), self.run.interrupted)
        if due or interrupted:
            self.run.save(self.state)
        return bool(interrupted)

    def _log(self, record: dict[str, Any]) -> None:
        if self.on_failure == "skip":
            skipped = optax.tree_utils.tree_get(self.state.optimiser, "total_notfinite")
            record |= {"skipped_updates": jax.device_get(skipped)}
        self.history.append(record)
        if self.run is not None:
            self.run.log(record)
        try:
            for callback in self.callbacks:
                callback(self.state, record)
        except BaseException:
            # A tracking service that cannot be reached must not cost what was learnt.
            if self.run is not None:
                self.run.save(self.state)
            raise
        self.bar.set_postfix(bound=f"{np.nanmean(record['bound']):.2f}", refresh=False)


class _Window:
    """The steps between two log records.

    Args:
        step: the first one.
        feed: of the data.
    """

    def __init__(self, step: int, feed: ArrayFeed | StreamFeed):
        self._first, self._feed, self._waited = step, feed, feed.waited
        self._started = time.perf_counter()
        self._total: Any = None

    def steps_to(self, step: int) -> int:
        """Steps in the window up to ``step``; none if the first of them failed."""
        return step - self._first

    def add(self, report: Report, alive: np.ndarray) -> None:
        """Add a chunk to the means; members that no longer train are left out."""
        count = np.where(alive, report.num_finite, 0)
        part = jax.tree.map(lambda x: np.where(count > 0, count * np.float64(x), 0.0), report.mean)
        if self._total is None:
            self._total, self._count = part, count
        else:
            self._total = jax.tree.map(np.add, self._total, part)
            self._count = self._count + count

    def record(self, step: int, held_out: Estimate | None) -> dict[str, Any]:
        """The means over the window; NaN for a member that took no step with a finite surrogate."""
        seconds, steps = time.perf_counter() - self._started, step - self._first
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = jax.tree.map(lambda x: x / self._count, self._total)
        record = {"step": step, "epoch": step / self._feed.steps_per_epoch, "bound": mean.bound}
        record |= mean.parts
        if held_out is not None:
            record |= {"held_out_bound": held_out.bound}
            record |= {f"held_out_{name}": value for name, value in held_out.parts.items()}
        rate = steps / seconds
        record |= {"chunk_steps": steps, "steps_per_second": rate}
        record |= {"examples_per_second": rate * self._feed.batch_size}
        if isinstance(self._feed, StreamFeed):
            record |= {"waiting_share": (self._feed.waited - self._waited) / seconds}
        return record
