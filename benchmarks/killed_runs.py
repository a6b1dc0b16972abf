"""A run that is killed again and again, compared with an uninterrupted one.

    python -m benchmarks.killed_runs --kills 20 --out benchmark-results

``experiments.vae`` is trained on digits twice: once from beginning to end, and once killed by
SIGKILL at random moments of its training and resumed each time. Every other kill comes while a
checkpoint is being written, and the first one before any checkpoint is complete. The results are

    bit_identical          whether both have the same parameters_sha256 in metrics.json
    kills                  number of kills that came before the end of the run
    kills_while_writing    number of those that left an incomplete checkpoint behind
    resumed                number of runs that continued from a checkpoint
    started_again          number of runs that found no checkpoint
    max_steps_lost         largest difference between the last step logged before a kill and the
                           step with which the resumed run began
    interval, line_steps   steps between checkpoints, and between log records
    beyond_interval        number of kills that lost more than interval + line_steps
    beyond_interval_outside_writes  number of those while no checkpoint was being written
    fell_back              number of runs that did not resume from the newest complete checkpoint
    damaged                number of checkpoints that a resumed run could not read
    missing_lines          steps in the log of the reference but not in that of the killed run
    different_lines        steps whose held-out bounds differ between the two

A run may have trained up to ``line_steps`` steps that it had not logged. A checkpoint can be
resumed once it is complete, and training continues while it is written. A kill during a write
therefore loses the interval and the steps that were trained during the write.
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
from benchmarks.shared.results import save
from jaxvae import training

REPOSITORY = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "experiments.vae")
POLL_SECONDS = 0.002
WRITING = "*.orbax-checkpoint-tmp*"
"""Folders of checkpoints that are not complete."""
DAMAGED = "trying the one before it"
"""Part of what a resumed run prints when it cannot read a checkpoint."""


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    kills: int = 20
    """Number of kills."""
    epochs: int = 300
    """Epochs of the training; an epoch of digits is 23 steps and one log record."""
    checkpoint_steps: int = 300
    """Steps between checkpoints."""
    nll_samples: int = 1
    """Importance samples of the evaluation at the end, which is not measured."""
    seed: int = 0
    """Seed of the moments."""
    out: str | None = None
    """Folder for results.json and the two runs; a temporary one by default."""


@dataclass(frozen=True)
class Kill:
    """The moment at which a run is killed.

    Attributes:
        step: the kill waits until this step is in the log.
        while_writing: whether it then waits until the next checkpoint begins to be written.
        delay: seconds that it waits after that.
    """

    step: int
    while_writing: bool
    delay: float


def plan(kills: int, num_steps: int, seed: int) -> list[Kill]:
    """Moments over the first nine tenths of the run, every other one during a write.

    The first one comes at the first log record, when no checkpoint is complete. Delays range from
    zero to more than a write takes.
    """
    draw = random.Random(seed)
    steps = [0, *sorted(draw.randrange(num_steps * 9 // 10) for _ in range(kills - 1))]
    return [
        Kill(step, number % 2 == 1, draw.uniform(0.0, 0.1 if number % 2 else 0.5 * (number > 0)))
        for number, step in enumerate(steps)
    ]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All complete records of log.jsonl."""
    path = folder / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    # A record is complete when its line has an end.
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def new_records(before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """The records that a resumed run wrote, after those it kept of the run before.

    No record is written twice with the same times, so the first one that differs is new.
    """
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    return list(after[same:])


def first_step(records: Sequence[dict[str, Any]]) -> int:
    """The step with which a run began, from the first record that it wrote."""
    return records[0]["step"] - records[0]["chunk_steps"]


def being_written(folder: Path) -> set[tuple[str, int]]:
    """Names of incomplete checkpoints and the times of their last change.

    An incomplete checkpoint that a killed run left behind does not change; if it does, a new one
    of the same name is being written.
    """
    found = set()
    for path in (folder / "checkpoints").glob(WRITING):
        with suppress(FileNotFoundError):  # It has become complete.
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def complete_steps(folder: Path) -> list[int]:
    """Steps of all complete checkpoints."""
    found = (folder / "checkpoints").glob("[0-9]*")
    return sorted(int(path.name) for path in found if path.name.isdigit())


class Process:
    """The experiment in a process of its own; leaving the context kills it if it still runs.

    Args:
        options: of the command line.
        folder: of the run.
        output: file to which the process appends what it prints.
    """

    def __init__(self, options: Sequence[str], folder: Path, output: Path):
        self._folder, self._output = folder, output
        command = [*COMMAND, *options, "--out", str(folder)]
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT
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
        """Kill the process by SIGKILL at the given moment; False if it ended before.

        Raises:
            RuntimeError: if it failed by itself.
        """
        before, stale = read_log(self._folder), being_written(self._folder)
        # Records of an earlier run do not show that this one trains.
        while not self._ended():
            records = new_records(before, read_log(self._folder))
            if records and records[-1]["step"] >= when.step:
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
            tail = self._output.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"expected exit status 0, got {self._process.returncode}: {tail}")


def lives(config: Config, options: Sequence[str], folder: Path, num_steps: int) -> list[dict]:
    """Kill and resume the run; returns what its folder holds after each kill and after the end."""
    found: list[dict[str, Any]] = []
    for number, when in enumerate([*plan(config.kills, num_steps, config.seed), None]):
        begin = "--overwrite" if number == 0 else "--resume"
        before, stale = read_log(folder), being_written(folder)
        output = folder.with_suffix(f".{number}.txt")
        with Process([*options, begin], folder, output) as process:
            if when is None:
                process.finish()
            killed = when is not None and process.kill(when)
        records = new_records(before, read_log(folder))
        found.append(
            {
                "killed": killed,
                "writing": bool(being_written(folder) - stale),
                "first_step": first_step(records) if records else None,
                "last_logged": records[-1]["step"] if records else None,
                "complete": complete_steps(folder),
                "damaged": output.read_text(errors="replace").count(DAMAGED),
            }
        )
        if not killed:
            break
    return found


def derive(found: Sequence[dict[str, Any]], *, interval: int, line_steps: int) -> dict[str, Any]:
    """The results of the module's docstring that follow from ``lives``."""
    lost, resumed, fell_back, outside = [], 0, 0, 0
    for dead, next_one in pairwise(found):
        # A run that is resumed after its last step logs nothing.
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
    """Steps whose record is missing, and steps whose held-out bounds differ."""
    there = {record["step"]: record["held_out_bound"] for record in killed}
    steps = {record["step"]: record["held_out_bound"] for record in reference}
    return {
        "missing_lines": [step for step in steps if step not in there],
        "different_lines": [step for step in steps if there.get(step, steps[step]) != steps[step]],
    }


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """Train both runs; returns the results."""
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
        single = {
            name: value for name, value in results.items() if isinstance(value, bool | int | float)
        }
        print(training.format_metrics(single))
        save(results, config.out)
    return results


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
