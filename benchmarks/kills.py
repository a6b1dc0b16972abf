"""A run of an experiment that can be killed at any moment, and what its folder tells afterwards."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
POLL_SECONDS = 0.002
WRITING = "*.orbax-checkpoint-tmp*"
"""Folders of checkpoints that are not complete."""
DAMAGED = "trying the one before it"
"""What a resumed run says of a checkpoint that it cannot read."""


@dataclass(frozen=True)
class Kill:
    """When a run is to be killed.

    Attributes:
        step: not before this step is in the log.
        while_writing: whether to wait for the next checkpoint that begins to be written.
        delay: seconds after that.
    """

    step: int
    while_writing: bool
    delay: float


def plan(kills: int, num_steps: int, seed: int) -> list[Kill]:
    """Moments over nine tenths of the run, every other one while a checkpoint is written.

    The first comes at the first line, when no checkpoint is complete. Delays reach from nothing to
    beyond the time of a write.
    """
    draw = random.Random(seed)
    steps = [0, *sorted(draw.randrange(num_steps * 9 // 10) for _ in range(kills - 1))]
    return [
        Kill(step, number % 2 == 1, draw.uniform(0.0, 0.1 if number % 2 else 0.5 * (number > 0)))
        for number, step in enumerate(steps)
    ]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All complete lines of log.jsonl."""
    path = folder / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    # A line is complete when it has its end.
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def new_lines(before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Lines of a resumed run: those after the ones that it kept of the run before.

    No line is written twice with the same times, so the first that differs is the first new one.
    """
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    return list(after[same:])


def first_step(lines: Sequence[dict[str, Any]]) -> int:
    """The step that a run began with, from the first line that it wrote."""
    return lines[0]["step"] - lines[0]["chunk_steps"]


def being_written(folder: Path) -> set[tuple[str, int]]:
    """Names of checkpoints that are not complete, and when they last changed.

    What a killed run left behind does not change; one of that name that does is a new one.
    """
    found = set()
    for path in (folder / "checkpoints").glob(WRITING):
        with suppress(FileNotFoundError):  # It has become complete.
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def complete_steps(folder: Path) -> list[int]:
    """Steps of the complete checkpoints."""
    found = (folder / "checkpoints").glob("[0-9]*")
    return sorted(int(path.name) for path in found if path.name.isdigit())


class Process:
    """The experiment in a process of its own; leaving the context kills what is left of it.

    Args:
        options: on the command line.
        folder: of the run.
        said: file that its output is appended to.
    """

    def __init__(self, options: Sequence[str], folder: Path, said: Path):
        self._folder, self._said = folder, said
        command = [sys.executable, "-m", "experiments.vae", *options, "--out", str(folder)]
        with said.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def finish(self) -> None:
        """Wait for the end.

        Raises:
            RuntimeError: if it failed.
        """
        self._process.wait()
        self._check()

    def kill(self, when: Kill) -> bool:
        """Kill it by SIGKILL at the given moment; False if it came to its end before.

        Raises:
            RuntimeError: if it failed by itself.
        """
        before, stale = read_log(self._folder), being_written(self._folder)
        # Only what it has written itself shows that it trains.
        while not self._ended():
            lines = new_lines(before, read_log(self._folder))
            if lines and lines[-1]["step"] >= when.step:
                break
            time.sleep(POLL_SECONDS)
        while when.while_writing and not self._ended():
            if being_written(self._folder) - stale:
                break
            time.sleep(POLL_SECONDS)
        time.sleep(when.delay)
        if self._ended():
            return False
        self._process.kill()
        return self._process.wait() < 0

    def _ended(self) -> bool:
        if self._process.poll() is None:
            return False
        self._check()
        return True

    def _check(self) -> None:
        if self._process.returncode != 0:
            tail = self._said.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"expected exit status 0, got {self._process.returncode}: {tail}")
