"""The Python side of training: what happens between compiled chunks."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

from jaxvae._types import PyTree
from jaxvae.training.chunk import Report
from jaxvae.training.devices import agree
from jaxvae.training.failure import (
    RUN_TIME_ERRORS,
    Failure,
    InterruptedStepError,
    NonFiniteError,
    save_failure,
    sentence_of,
)
from jaxvae.training.feeds import ArrayFeed, StreamFeed
from jaxvae.training.members import member_of, put_member
from jaxvae.training.pace import Pace
from jaxvae.training.program import Program
from jaxvae.training.run import Run
from jaxvae.training.state import TrainState
from jaxvae.training.window import Window

TRACED_CHUNK = 3
"""Which chunk a trace shows: long enough to see, and the first ones are not typical."""
OnFailure = Literal["raise", "skip", "halt"]


@runtime_checkable
class Callback(Protocol):
    """Called after each logged line with the state and that line.

    The next chunk reuses the state's buffers: copy what is to be kept.
    """

    def __call__(self, state: TrainState, line: dict[str, Any], /) -> None:
        """React to a line."""
        ...


class Loop:
    """Training from a state on.

    Args:
        program: the compiled functions.
        state: where to begin; its buffers are used up.
        hyperparameters: of the members.
        feed: of the data.
        held_out: rows that are evaluated at each line, or None.
        on_failure: what to do when something is not finite.
        run: the folder of the run, or None.
        callbacks: called after each line.
        bar: the progress bar.
        profile: folder for a trace of one chunk, or None.
    """

    def __init__(
        self,
        program: Program,
        state: TrainState,
        hyperparameters: PyTree,
        feed: ArrayFeed | StreamFeed,
        held_out: PyTree,
        on_failure: OnFailure,
        run: Run | None,
        callbacks: Sequence[Callback],
        bar: tqdm,
        profile: str | Path | None,
    ):
        self.state, self.history = state, []
        self._program, self._hyper = program, hyperparameters
        self._feed, self._held_out = feed, held_out
        self._on_failure, self._run, self._callbacks, self._bar = on_failure, run, callbacks, bar
        self._profile, self._untraced = profile, TRACED_CHUNK
        self._step, self._pace = int(state.step), Pace()
        self._alive = np.asarray(jax.device_get(state.watch.alive))

    def train(self, num_steps: int, every: int) -> None:
        """Go on up to a step, with a line every so many."""
        while self._step < num_steps and self._alive.any():
            line_at = min(self._step + every - self._step % every, num_steps)
            window, interrupted, held_out = Window(self._step, self._feed.waited), False, None
            while self._step < line_at and self._alive.any() and not interrupted:
                report, was_alive = self._chunk(line_at)
                window.add(report, was_alive)
                held_out = report.held_out if self._step == line_at else None
                interrupted = self._keep()
            if window.steps_to(self._step):
                self._log(window.line(self._step, self._feed, held_out))
            if interrupted or self._keep():
                raise KeyboardInterrupt

    def _chunk(self, line_at: int) -> tuple[Report, np.ndarray]:
        stop = min(line_at, self._step + self._pace.steps)
        checkpoint_at = None if self._run is None else self._run.next_checkpoint(self._step)
        (stop,) = agree(stop if checkpoint_at is None else min(stop, checkpoint_at))
        feed, stop = self._feed.upto(self._step, stop)
        # For a diagnosis: the state's own buffers go to the chunk.
        before = jax.tree.map(jnp.copy, self.state)
        started = time.perf_counter()
        try:
            with self._tracing():
                self.state, report = jax.block_until_ready(
                    self._program(
                        self.state, self._hyper, feed, self._held_out, stop, stop == line_at
                    )
                )
        except RUN_TIME_ERRORS as error:
            self._interrupt(error, before, stop)
            raise
        self._pace.took(stop - self._step, time.perf_counter() - started)
        was_alive, failed = self._alive, self._failed(report)
        if failed.any():
            self._repair(before, feed, stop, failed)
        self._alive = np.asarray(report.alive & ~failed)
        self._bar.update(int(self.state.step) - self._step)
        self._step = int(self.state.step)
        return report, was_alive

    def _interrupt(self, error: Exception, before: TrainState, stop: int) -> None:
        """Keep the state before a chunk that raised, and say what and when in one line."""
        sentence, where = sentence_of(error), ""
        if sentence is None:
            return
        self.state = before
        if self._run is not None:
            self._run.save(before)
            self._run.checkpoints.wait()
            where = f" (the state at step {self._step} is saved in {self._run.directory})"
        raise InterruptedStepError(self._step, stop, sentence, where) from None

    def _tracing(self) -> AbstractContextManager[Any]:
        self._untraced -= 1
        if self._profile is None or self._untraced != 0:
            return nullcontext()
        return jax.profiler.trace(str(self._profile))

    def _failed(self, report: Report) -> np.ndarray:
        bad_surrogate = report.bad_step >= 0
        if self._on_failure == "skip":
            bad_surrogate = np.zeros_like(bad_surrogate)
        return np.asarray(bad_surrogate | ~report.finite)

    def _repair(self, before: TrainState, feed: Any, stop: int, failed: np.ndarray) -> None:
        """Put each member that failed back to the state before its bad step, or raise."""
        good, diagnosis = self._program.diagnose(before, self._hyper, feed, stop)
        # The first step first: it is the one that is told.
        for index in sorted(np.flatnonzero(failed), key=np.atleast_1d(diagnosis.step).__getitem__):
            member = int(index) if failed.ndim else None
            mine = diagnosis if member is None else diagnosis.of(member)
            found, step = mine.step >= 0, int(mine.step if mine.step >= 0 else before.step)
            if jax.process_count() > 1:
                # The state is spread over the processes; what is told is known to each.
                raise FloatingPointError(f"{mine.quantity()} was not finite at step {step}")
            state = member_of(good if found else before, member)
            state = state._replace(step=jnp.asarray(step, jnp.int32))
            quantity = "something (not so when repeated)"
            if found:
                quantity = mine.quantity(self._on_failure == "skip")
            rows = jax.device_get(self._program.rows(state, feed, step))
            self._tell(Failure(step, member, quantity, state, rows))
            failed_at = jnp.asarray(step, jnp.int32)
            frozen = state._replace(watch=state.watch._replace(failed_at=failed_at))
            self.state = put_member(self.state, member, frozen)

    def _tell(self, failure: Failure) -> None:
        where = ""
        if self._run is not None:
            where = f" (saved in {save_failure(self._run.directory, failure)})"
        if self._on_failure != "halt":
            raise NonFiniteError(failure, where)
        self._bar.write(f"halted: {failure.describe()}{where}")

    def _keep(self) -> bool:
        """Save the state where it is time to; whether to leave."""
        if self._run is None:
            return False
        due, interrupted = agree(self._run.due(self._step), self._run.interrupted)
        if due or interrupted:
            self._run.save(self.state)
        return bool(interrupted)

    def _log(self, line: dict[str, Any]) -> None:
        if self._on_failure == "skip":
            skipped = optax.tree_utils.tree_get(self.state.optimiser, "total_notfinite")
            line |= {"skipped_updates": jax.device_get(skipped)}
        self.history.append(line)
        if self._run is not None:
            self._run.log(line)
        try:
            for callback in self._callbacks:
                callback(self.state, line)
        except BaseException:
            # A tracker that cannot be reached must not cost what was learnt.
            if self._run is not None:
                self._run.save(self.state)
            raise
        self._bar.set_postfix(bound=f"{np.nanmean(line['bound']):.2f}", refresh=False)
