"""A run that is killed again and again against one that is left alone.

    python -m benchmarks.killed_runs --kills 20 --out benchmark-results

Trains ``experiments.vae`` on digits twice: once from beginning to end, and once killed by SIGKILL
at random moments of its training and resumed each time. Every other kill comes when a checkpoint
has begun to be written, the first one before any checkpoint is complete. Then

    bit_identical          whether both have the same parameters_sha256 in metrics.json
    kills                  that hit the run before its end
    kills_while_writing    of those, with an incomplete checkpoint left behind
    resumed                runs that went on from a checkpoint; started_again from none
    max_steps_lost         largest difference between the last step logged before a kill and the
                           step that the resumed run began with
    interval               steps between checkpoints; line_steps those between lines
    beyond_interval        kills that lost more than interval + line_steps
    beyond_interval_outside_writes  of those, with no checkpoint being written
    fell_back              resumptions from an older checkpoint than the newest complete one
    damaged                checkpoints that a resumed run said it could not read
    missing_lines          steps in the log of the reference and not in that of the killed run
    different_lines        steps whose held-out bound differs between the two

A run may have taken up to ``line_steps`` more than it logged. A checkpoint counts from when it is
complete, and training goes on while it is written, so a kill in a write loses the interval and the
steps taken during the write.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.shared import machine
from jaxvae import training

REPOSITORY = Path(__file__).parents[1]
POLL_SECONDS = 0.002
WRITING = "*.orbax-checkpoint-tmp*"
"""Folders of checkpoints that are not complete."""
DAMAGED = "trying the one before it"
"""What a resumed run says of a checkpoint that it cannot read."""


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    kills: int = 20
    """How often the run is killed."""
    epochs: int = 300
    """Of the training; an epoch of digits is 23 steps and a line in the log."""
    checkpoint_steps: int = 300
    """Steps between checkpoints."""
    nll_samples: int = 1
    """Importance samples of the evaluation at the end, which is not measured."""
    seed: int = 0
    """Of the moments."""
    out: str | None = None
    """Folder for results.json and the two runs; a temporary one by default."""


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


def lives(config: Config, options: Sequence[str], folder: Path, num_steps: int) -> list[dict]:
    """Kill and resume; what was found after each kill, and after the end."""
    found: list[dict[str, Any]] = []
    for number, when in enumerate([*plan(config.kills, num_steps, config.seed), None]):
        begin = "--overwrite" if number == 0 else "--resume"
        before, stale = read_log(folder), being_written(folder)
        said = folder.with_suffix(f".{number}.txt")
        with Process([*options, begin], folder, said) as process:
            if when is None:
                process.finish()
            killed = when is not None and process.kill(when)
        lines = new_lines(before, read_log(folder))
        found.append(
            {
                "killed": killed,
                "writing": bool(being_written(folder) - stale),
                "first_step": first_step(lines) if lines else None,
                "last_logged": lines[-1]["step"] if lines else None,
                "complete": complete_steps(folder),
                "damaged": said.read_text(errors="replace").count(DAMAGED),
            }
        )
        if not killed:
            break
    return found


def derive(found: Sequence[dict[str, Any]], *, interval: int, line_steps: int) -> dict[str, Any]:
    """The figures of the module's docstring that follow from what was found after each life."""
    lost, resumed, fell_back, outside = [], 0, 0, 0
    for dead, next_one in pairwise(found):
        # A run that was resumed at its very end logs nothing.
        begun = next_one["first_step"]
        begun = dead["complete"][-1] if begun is None else begun
        lost.append(dead["last_logged"] - begun)
        outside += lost[-1] > interval + line_steps and not dead["writing"]
        resumed += begun > 0
        fell_back += begun != max(dead["complete"], default=0)
    return {
        "kills": len(lost),
        "kills_while_writing": sum(dead["writing"] for dead in found[:-1]),
        "resumed": resumed,
        "started_again": len(lost) - resumed,
        "max_steps_lost": max(lost, default=0),
        "interval": interval,
        "line_steps": line_steps,
        "beyond_interval": sum(steps > interval + line_steps for steps in lost),
        "beyond_interval_outside_writes": outside,
        "fell_back": fell_back,
        "damaged": sum(life["damaged"] for life in found),
        "steps_lost": lost,
    }


def compare_logs(
    reference: Sequence[dict[str, Any]], killed: Sequence[dict[str, Any]]
) -> dict[str, list[int]]:
    """Steps whose line is missing, and steps whose held-out bound differs."""
    there = {line["step"]: line["held_out_bound"] for line in killed}
    steps = {line["step"]: line["held_out_bound"] for line in reference}
    return {
        "missing_lines": [step for step in steps if step not in there],
        "different_lines": [step for step in steps if there.get(step, steps[step]) != steps[step]],
    }


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """Both runs, and what follows from them."""
    options = [
        f"--epochs={config.epochs}",
        f"--checkpoint-steps={config.checkpoint_steps}",
        f"--nll-samples={config.nll_samples}",
    ]
    alone, killed = folder / "reference", folder / "killed"
    for run in (alone, killed):
        shutil.rmtree(run, ignore_errors=True)
    with Process([*options, "--overwrite"], alone, folder / "reference.txt") as process:
        process.finish()
    log = read_log(alone)
    found = lives(config, options, killed, log[-1]["step"])
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (alone, killed)]
    digests = [metric["parameters_sha256"] for metric in metrics]
    return {
        "bit_identical": digests[0] == digests[1],
        **derive(found, interval=config.checkpoint_steps, line_steps=log[0]["chunk_steps"]),
        **compare_logs(log, read_log(killed)),
        "steps": log[-1]["step"],
        "reference_train_seconds": metrics[0]["train_seconds"],
        "parameters_sha256": dict(zip(("reference", "killed"), digests, strict=True)),
        "lives": found,
    }


def main(config: Config) -> dict[str, Any]:
    """Measure, print and save; returns the results."""
    if config.kills < 1:
        raise ValueError(f"--kills expected a positive number, got {config.kills}")
    with ExitStack() as stack:
        if config.out is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = Path(config.out).absolute()
            folder.mkdir(parents=True, exist_ok=True)
        results = {
            "benchmark": "killed_runs",
            "epochs": config.epochs,
            "seed": config.seed,
            **measure(config, folder),
            **machine.describe(),
        }
        figures = {
            name: value for name, value in results.items() if isinstance(value, bool | int | float)
        }
        print(training.format_metrics(figures))
        if config.out is not None:
            text = json.dumps(results, indent=2, allow_nan=False) + "\n"
            (folder / "results.json").write_text(text)
            print(f"\nResults: {folder / 'results.json'}")
    return results


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
