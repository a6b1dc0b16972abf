"""The folder of one run: configuration, log, metrics, pictures, checkpoints."""

import dataclasses
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxvae._types import PyTree
from jaxvae.training.checkpoint import Checkpoints
from jaxvae.training.metrics_file import summarise, write_json, write_text
from jaxvae.training.saved import save_model
from jaxvae.training.state import TrainState

CHECKPOINT_SECONDS = 60.0
"""Time between checkpoints; the last state is always saved."""


class Run:
    """A run's folder; ``Run.callback`` goes into ``fit``.

    Args:
        directory: the folder, which ``open_run`` has prepared.
        checkpoints: those of the folder.
    """

    def __init__(self, directory: Path, checkpoints: Checkpoints):
        self.directory = directory
        self.checkpoints = checkpoints
        self._interrupted = False
        self._saved_at = time.monotonic()

    def callback(self, state: TrainState, line: dict[str, Any], /) -> None:
        """Log a line; save now and then, and on Ctrl-C before leaving."""
        with (self.directory / "log.jsonl").open("a") as log:
            log.write(json.dumps(jax.tree.map(_plain, line)) + "\n")
        if self._interrupted or time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
            self.checkpoints.save(state)
            self._saved_at = time.monotonic()
        if self._interrupted:
            raise KeyboardInterrupt

    def history(self) -> list[dict[str, Any]]:
        """All logged lines, those before a resumption included."""
        return _read_log(self.directory / "log.jsonl")

    def resume(self, state: TrainState) -> TrainState:
        """The newest checkpoint if there is one, otherwise the given fresh state.

        Lines that were logged after the checkpoint are dropped: their steps are taken again.
        """
        if self.checkpoints.latest_step is None:
            kept = []
        else:
            state = self.checkpoints.restore(state)
            kept = [line for line in self.history() if line["step"] <= int(state.step)]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_text(self.directory / "log.jsonl", text)
        return state

    def save_figure(self, name: str, figure: Figure) -> None:
        """Write NAME.png."""
        figure.savefig(self.directory / f"{name}.png")

    def save_metrics(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write metrics.json: a mean and KEY_sd for every value with one entry per member."""
        flat = summarise(metrics)
        write_json(self.directory / "metrics.json", flat)
        return flat

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C wait for the end of the chunk and leave a resumable run; twice is at once."""
        if threading.current_thread() is not threading.main_thread():
            # Python delivers signals to the main thread only.
            yield
            return

        def interrupt(number, frame):
            self._interrupted = True
            signal.signal(signal.SIGINT, previous)

        previous = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        except KeyboardInterrupt:
            print(
                f"\nInterrupted; saved at step {self.checkpoints.latest_step}. "
                f"The same command with --out {self.directory} --resume continues."
            )
            raise
        finally:
            signal.signal(signal.SIGINT, previous)


@contextmanager
def open_run(
    directory: str | Path,
    config: Any,
    *,
    recipe: PyTree = None,
    members: int | None = None,
    resume: bool = False,
    may_change: tuple[str, ...] = (),
) -> Iterator[Run]:
    """Prepare a folder for a new run, or open that of an interrupted one.

    Args:
        directory: the folder; it must be empty or absent unless ``resume``.
        config: a dataclass, kept in config.json.
        recipe: the model's recipe, for ``jaxvae.load``; None for a model of one's own.
        members: number of members of the run, None for a single one.
        resume: whether to continue the run in the folder.
        may_change: fields of the configuration that may differ when resuming.

    Raises:
        ValueError: if the folder is not empty, there is nothing to resume, or the configuration
            differs.
    """
    folder = Path(directory).absolute()
    values = dataclasses.asdict(config)
    if resume:
        _check_same_config(folder, values, may_change)
    else:
        _check_fresh(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", values)
        save_model(folder, recipe, members)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        yield Run(folder, checkpoints)
    # Once a resumed run has ended well, so that a refused one leaves its folder as it was.
    write_json(folder / "config.json", values)


def _check_fresh(folder: Path) -> None:
    if not folder.exists():
        return
    # What a run leaves behind that failed before its first step.
    begun = {"config.json", "model.json", "checkpoints"}
    names = {path.name for path in folder.iterdir()}
    if names - begun or any((folder / "checkpoints").glob("*")) or (names and not begun <= names):
        raise ValueError(
            f"expected an empty or new folder, got {folder} with files in it; "
            "choose another --out, or continue that run with --resume"
        )


def _check_same_config(folder: Path, values: dict[str, Any], may_change: tuple[str, ...]) -> None:
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"expected a run to resume in {folder}, found no config.json there")
    saved = json.loads(path.read_text())
    values = json.loads(json.dumps(values))
    changed = [
        f"{name} was {saved.get(name)!r} and is {values.get(name)!r}"
        for name in sorted(saved.keys() | values.keys())
        if saved.get(name) != values.get(name) and name not in may_change
    ]
    if changed:
        raise ValueError(
            f"expected the configuration of the run in {folder}, got other values: "
            f"{'; '.join(changed)}. Start a new run for them"
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
    return np.asarray(value).tolist()
