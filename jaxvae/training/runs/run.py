"""What a run writes into its folder: log records, checkpoints, metrics, pictures."""

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
    """The folder of a run, which ``fit(..., run=run)`` writes into.

    Args:
        directory: the folder, which ``open_run`` has prepared.
        checkpoints: of the folder.
        every_steps: steps between checkpoints, or None if only the time counts.
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

    def log(self, record: dict[str, Any]) -> None:
        """Append a record to log.jsonl; values that are not finite become null."""
        if jax.process_index() == 0:
            with (self.directory / "log.jsonl").open("a") as log:
                plain = {name: _plain(value) for name, value in record.items()}
                log.write(json.dumps(plain, allow_nan=False) + "\n")

    def next_checkpoint(self, step: int) -> int | None:
        """The step of the next checkpoint after ``step``, unless only the time counts."""
        every = self._every_steps
        return None if every is None else step + every - step % every

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        every = self._every_steps
        late = time.monotonic() - self._saved_at > self._every_seconds
        return late or (every is not None and step % every == 0)

    def save(self, state: TrainState) -> None:
        """Write a checkpoint; training may go on while it is written."""
        self.checkpoints.save(state)
        self._saved_at = time.monotonic()

    def history(self) -> list[dict[str, Any]]:
        """All log records, those before a resumption included."""
        return _read_log(self.directory / "log.jsonl")

    def resume(self, state: TrainState) -> TrainState:
        """The newest checkpoint if there is one, otherwise the given fresh state.

        Records that were logged after the checkpoint are dropped, as their steps are taken again.
        """
        kept: list[dict[str, Any]] = []
        if self.checkpoints.latest_step is not None:
            state = self.checkpoints.restore(state)
            kept = [record for record in self.history() if record["step"] <= int(state.step)]
        elif self.history():
            print(f"no checkpoint in {self.directory}: beginning again", file=sys.stderr)
        if jax.process_index() == 0 and (kept or (self.directory / "log.jsonl").exists()):
            text = "".join(json.dumps(record) + "\n" for record in kept)
            write_text(self.directory / "log.jsonl", text)
        return state

    def save_figure(self, name: str, figure: Figure) -> None:
        """Write NAME.png."""
        figure.savefig(self.directory / f"{name}.png")

    def save_metrics(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write metrics.json, and return it.

        A vector over members becomes its mean and, as KEY_sd, its standard deviation.
        """
        flat = summarise(metrics)
        if jax.process_index() == 0:
            write_json(self.directory / "metrics.json", flat)
        return flat

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C or SIGTERM wait for the end of the chunk, and leave a run that can be resumed.

        A second signal is ignored, so that an impatient user does not lose the checkpoint; a third
        one ends the process at once.
        """
        if threading.current_thread() is not threading.main_thread():
            # Only the main thread may set handlers of signals.
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
    records = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(text))
        except json.JSONDecodeError:
            # Only the last line can be incomplete: the machine stopped while it was written.
            break
    return records


def _plain(value: Any) -> Any:
    value = value if isinstance(value, list) else np.asarray(value).tolist()
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
