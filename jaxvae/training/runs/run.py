"""The folder of one run: configuration, log, metrics, pictures, checkpoints."""

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxvae.training.runs.checkpoint import Checkpoints
from jaxvae.training.runs.files import summarise, write_json, write_text
from jaxvae.training.state import TrainState

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Run:
    """A run's folder, which ``fit`` writes into: ``fit(..., run=run)``.

    Args:
        directory: the folder, which ``open_run`` has prepared.
        checkpoints: those of the folder.
        every_steps: steps between checkpoints, None for no such rule.
        every_minutes: minutes between checkpoints.
    """

    def __init__(
        self,
        directory: Path,
        checkpoints: Checkpoints,
        *,
        every_steps: int | None = None,
        every_minutes: float = 1.0,
    ):
        self.directory = directory
        self.checkpoints = checkpoints
        self.interrupted = False
        self._every_steps, self._every_seconds = every_steps, 60 * every_minutes
        self._saved_at, self._saved_step = time.monotonic(), 0

    def log(self, line: dict[str, Any]) -> None:
        """Append a line to log.jsonl; what is not a number becomes null."""
        if jax.process_index() == 0:
            with (self.directory / "log.jsonl").open("a") as log:
                plain = {name: _plain(value) for name, value in line.items()}
                log.write(json.dumps(plain, allow_nan=False) + "\n")

    def next_checkpoint(self, step: int) -> int | None:
        """The step that a chunk from ``step`` should not pass, if there is one."""
        every = self._every_steps
        return None if every is None else step + every - step % every

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        every = self._every_steps
        late = time.monotonic() - self._saved_at > self._every_seconds
        return late or (every is not None and step % every == 0)

    def save(self, state: TrainState) -> None:
        """Write a checkpoint; training may go on meanwhile."""
        self.checkpoints.save(state)
        self._saved_at = time.monotonic()

    def history(self) -> list[dict[str, Any]]:
        """All logged lines, those before a resumption included."""
        return _read_log(self.directory / "log.jsonl")

    def resume(self, state: TrainState) -> TrainState:
        """The newest checkpoint if there is one, otherwise the given fresh state.

        Lines that were logged after the checkpoint are dropped: their steps are taken again.
        """
        kept: list[dict[str, Any]] = []
        if self.checkpoints.latest_step is not None:
            state = self.checkpoints.restore(state)
            kept = [line for line in self.history() if line["step"] <= int(state.step)]
        elif self.history():
            print(f"no checkpoint in {self.directory}: beginning again", file=sys.stderr)
        if jax.process_index() == 0 and (kept or (self.directory / "log.jsonl").exists()):
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_text(self.directory / "log.jsonl", text)
        return state

    def save_figure(self, name: str, figure: Figure) -> None:
        """Write NAME.png."""
        figure.savefig(self.directory / f"{name}.png")

    def save_metrics(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write metrics.json: a mean and KEY_sd for every value with one entry per member."""
        flat = summarise(metrics)
        if jax.process_index() == 0:
            write_json(self.directory / "metrics.json", flat)
        return flat

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C or SIGTERM wait for the end of the chunk and leave a resumable run.

        A second signal changes nothing, so that no impatience costs the checkpoint; a third ends
        the process at once.
        """
        if threading.current_thread() is not threading.main_thread():
            # Python delivers signals to the main thread only.
            yield
            return
        received = 0

        def interrupt(number, frame):
            nonlocal received
            received += 1
            self.interrupted = True
            if received == 2:
                for each in SIGNALS:
                    signal.signal(each, signal.SIG_DFL)

        before = {number: signal.signal(number, interrupt) for number in SIGNALS}
        try:
            yield
        except KeyboardInterrupt:
            self.checkpoints.wait()
            print(f"\n{self._farewell()}")
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _farewell(self) -> str:
        step = self.checkpoints.latest_step
        if step is None:
            return "Interrupted before the first step; nothing is saved."
        return (
            f"Interrupted; saved at step {step}. "
            f"The same command with --out {self.directory} --resume continues."
        )


def _read_log(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            # Only the last line can be cut short, by a machine that stopped while writing it.
            break
    return lines


def _plain(value: Any) -> Any:
    value = value if isinstance(value, list) else np.asarray(value).tolist()
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
