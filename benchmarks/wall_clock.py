"""Turns of ``jaxvae.fit`` on a wall clock, with all that Python does in them."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fit_in_turns import FitInTurns
from benchmarks.train_step import in_turns
from jaxvae import training


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
    fits: Mapping[str, Callable[..., training.Fit]],
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
