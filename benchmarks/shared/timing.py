"""Times of contenders in interleaved repeats; one contender is ``jaxvae.fit``, chunk by chunk.

``fit`` owns its loop and calls back between chunks. Here it runs in a thread whose callback waits
until the next chunk is asked for. What is measured is therefore the function that users call,
compiled once, and each chunk continues from the state of the one before.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from jaxvae.training import Fit, TrainState

Name = TypeVar("Name", bound=Hashable)


def interleave(
    contenders: Mapping[Name, Callable[[], float]], repeats: int
) -> dict[Name, list[float]]:
    """Seconds of each contender, run in the order A B C A B C, so that a slow minute slows all."""
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            seconds[name].append(run())
    return seconds


class _StoppedError(Exception):
    pass


class SteppedFit:
    """A call of ``jaxvae.fit`` that trains for one chunk whenever it is called.

    Entering the context compiles the program and trains for a first chunk, as a warm-up; leaving it
    ends the thread.

    Args:
        fit: ``jaxvae.fit`` with all its arguments (``functools.partial``) except ``num_steps``,
            ``log_every``, ``callbacks`` and ``progress``.
        steps: steps in a chunk.
        chunks: how often it will be called.
    """

    def __init__(self, fit: Callable[..., Fit], *, steps: int, chunks: int):
        self._fit = partial(
            fit,
            num_steps=steps * (chunks + 1),  # One chunk more, for the warm-up.
            log_every=steps,
            callbacks=[self._after_chunk],
            progress=False,
        )
        self._go: SimpleQueue[bool] = SimpleQueue()
        self._news: SimpleQueue[dict[str, Any] | Future[Fit]] = SimpleQueue()
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._future = self._executor.submit(self._fit)
        self._future.add_done_callback(self._news.put)
        self._seconds_of_chunk()
        return self

    def __call__(self) -> float:
        """Seconds for a chunk on the clock of ``fit``, which stops when the results are there."""
        self._go.put(True)
        return self._seconds_of_chunk()

    def __exit__(self, *exception: object) -> None:
        self._go.put(False)
        self._executor.shutdown()

    def result(self) -> Fit:
        """The result of ``fit``, after the last chunk."""
        self._go.put(True)
        return self._future.result()

    def _seconds_of_chunk(self) -> float:
        news = self._news.get()
        if isinstance(news, Future):
            news.result()
            raise RuntimeError("SteppedFit expected at most as many calls as it has chunks")
        return news["chunk_steps"] / news["steps_per_second"]

    def _after_chunk(self, state: TrainState, record: dict[str, Any], /) -> None:
        del state
        self._news.put(record)
        if not self._go.get():
            raise _StoppedError


def nothing() -> None:
    """There is nothing to wait for."""


@dataclass(frozen=True)
class WallClockFit:
    """Several chunks of a fit on a wall clock, with all that Python does between them.

    The clock of ``SteppedFit`` is that of ``fit``, which leaves out what Python does between two
    chunks: writing the log, checks, and starting a checkpoint.

    Attributes:
        fit: trains for a chunk when it is called.
        chunks: number of chunks in a repeat.
        finish: called at the end of a repeat to wait for what still runs, so that it cannot slow
            down other contenders.
        pause: seconds to sleep after a repeat, which are not counted, in which a stream may finish
            reading ahead.
        waited: seconds that each repeat waited for ``finish``, which are counted.
    """

    fit: SteppedFit
    chunks: int = 1
    finish: Callable[[], None] = nothing
    pause: float = 0.0
    waited: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Seconds for a repeat."""
        started = time.perf_counter()
        for _ in range(self.chunks):
            self.fit()
        trained = time.perf_counter()
        self.finish()
        ended = time.perf_counter()
        self.waited.append(ended - trained)
        time.sleep(self.pause)
        return ended - started


def interleave_fits(
    fits: Mapping[str, Callable[..., Fit]],
    *,
    steps: int,
    chunks: int,
    repeats: int,
    pauses: Mapping[str, float],
) -> dict[str, Any]:
    """Times of several fits, and the share of each chunk's time in which a fit waited for data.

    Args:
        fits: calls of ``jaxvae.fit``, as for ``SteppedFit``.
        steps: in a chunk.
        chunks: in a repeat.
        repeats: of each fit.
        pauses: after the repeats of some fits, in seconds.
    """
    with ExitStack() as stack:
        stepped = {
            name: stack.enter_context(SteppedFit(fit, steps=steps, chunks=repeats * chunks))
            for name, fit in fits.items()
        }
        timed = {
            name: WallClockFit(fit, chunks, pause=pauses.get(name, 0.0))
            for name, fit in stepped.items()
        }
        seconds = interleave(timed, repeats)
        trained = {name: fit.result() for name, fit in stepped.items()}
    return {
        "steps": dict.fromkeys(fits, steps * chunks),
        "seconds": seconds,
        "compile_seconds": {name: result.compile_seconds for name, result in trained.items()},
        "waiting_share": {
            # The first record is that of the warm-up.
            name: [record["waiting_share"] for record in result.history[1:]]
            for name, result in trained.items()
            if "waiting_share" in result.history[-1]
        },
    }
