"""Contenders timed in turns, among them ``jaxvae.fit`` chunk by chunk.

``fit`` owns its loop and calls back between chunks. Here it runs in a thread whose callback waits
for its turn. What is measured is therefore the function that users call, compiled once, and each
chunk goes on from the state of the one before.
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


def in_turns(
    contenders: Mapping[Name, Callable[[], float]], repeats: int
) -> dict[Name, list[float]]:
    """Seconds of each contender in A B C A B C order, so that a slow minute slows them all."""
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            seconds[name].append(run())
    return seconds


class _StoppedError(Exception):
    pass


class FitInTurns:
    """A call of ``jaxvae.fit`` that takes a chunk whenever it is called.

    Entering compiles and takes the first chunk, as a warm-up; leaving ends the thread.

    Args:
        fit: ``jaxvae.fit`` with all its arguments (``functools.partial``) but ``num_steps``,
            ``log_every``, ``callbacks`` and ``progress``.
        steps: steps in a chunk.
        chunks: how often it will be called.
    """

    def __init__(self, fit: Callable[..., Fit], *, steps: int, chunks: int):
        self._fit = partial(
            fit,
            num_steps=steps * (chunks + 1),  # The warm-up comes on top.
            log_every=steps,
            callbacks=[self._after_chunk],
            progress=False,
        )
        self._turn: SimpleQueue[bool] = SimpleQueue()
        self._news: SimpleQueue[dict[str, Any] | Future[Fit]] = SimpleQueue()
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._future = self._executor.submit(self._fit)
        self._future.add_done_callback(self._news.put)
        self._seconds_of_chunk()
        return self

    def __call__(self) -> float:
        """Seconds for a chunk, by ``fit``'s own clock, which stops when its results are here."""
        self._turn.put(True)
        return self._seconds_of_chunk()

    def __exit__(self, *exception: object) -> None:
        self._turn.put(False)
        self._executor.shutdown()

    def result(self) -> Fit:
        """What ``fit`` returned, after the last chunk."""
        self._turn.put(True)
        return self._future.result()

    def _seconds_of_chunk(self) -> float:
        news = self._news.get()
        if isinstance(news, Future):
            news.result()
            raise RuntimeError("FitInTurns expected at most as many calls as it has chunks")
        return news["chunk_steps"] / news["steps_per_second"]

    def _after_chunk(self, state: TrainState, line: dict[str, Any], /) -> None:
        del state
        self._news.put(line)
        if not self._turn.get():
            raise _StoppedError


def nothing() -> None:
    """Leave nothing to wait for."""


@dataclass(frozen=True)
class WholeTurn:
    """Some lines of a fit from callback to callback: chunks, log, checkpoints, finite checks.

    ``FitInTurns`` tells the time of ``fit``'s own clock, which leaves out what is done between two
    lines: writing the log and asking for a checkpoint once more.

    Attributes:
        fit: a fit that takes a line whenever it is called.
        lines: their number in a turn.
        finish: what the turn has to wait for at its end, so that no work is left to others' turns.
        pause: seconds after a turn that count for nothing, for reading ahead to come to rest.
        waited: seconds that each turn waited for ``finish``, which are part of it.
    """

    fit: FitInTurns
    lines: int = 1
    finish: Callable[[], None] = nothing
    pause: float = 0.0
    waited: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Seconds for a turn."""
        started = time.perf_counter()
        for _ in range(self.lines):
            self.fit()
        trained = time.perf_counter()
        self.finish()
        ended = time.perf_counter()
        self.waited.append(ended - trained)
        time.sleep(self.pause)
        return ended - started


def fits_in_turns(
    fits: Mapping[str, Callable[..., Fit]],
    *,
    steps: int,
    lines: int,
    repeats: int,
    pauses: Mapping[str, float],
) -> dict[str, Any]:
    """Times of several fits, and the share of each turn's time in which one waited for data."""
    with ExitStack() as stack:
        turns = {
            name: stack.enter_context(FitInTurns(fit, steps=steps, chunks=repeats * lines))
            for name, fit in fits.items()
        }
        whole = {
            name: WholeTurn(fit, lines, pause=(pauses or {}).get(name, 0.0))
            for name, fit in turns.items()
        }
        seconds = in_turns(whole, repeats)
        trained = {name: fit.result() for name, fit in turns.items()}
    return {
        "steps": dict.fromkeys(fits, steps * lines),
        "seconds": seconds,
        "compile_seconds": {name: result.compile_seconds for name, result in trained.items()},
        "waiting_share": {
            # The first line is the warm-up.
            name: [line["waiting_share"] for line in result.history[1:]]
            for name, result in trained.items()
            if "waiting_share" in result.history[-1]
        },
    }
