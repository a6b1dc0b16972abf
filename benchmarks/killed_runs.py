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
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import kills, machine
from jaxvae import training


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


def lives(config: Config, options: Sequence[str], folder: Path, num_steps: int) -> list[dict]:
    """Kill and resume; what was found after each kill, and after the end."""
    found: list[dict[str, Any]] = []
    for number, when in enumerate([*kills.plan(config.kills, num_steps, config.seed), None]):
        begin = "--overwrite" if number == 0 else "--resume"
        before, stale = kills.read_log(folder), kills.being_written(folder)
        said = folder.with_suffix(f".{number}.txt")
        with kills.Process([*options, begin], folder, said) as process:
            if when is None:
                process.finish()
            killed = when is not None and process.kill(when)
        lines = kills.new_lines(before, kills.read_log(folder))
        found.append(
            {
                "killed": killed,
                "writing": bool(kills.being_written(folder) - stale),
                "first_step": kills.first_step(lines) if lines else None,
                "last_logged": lines[-1]["step"] if lines else None,
                "complete": kills.complete_steps(folder),
                "damaged": said.read_text(errors="replace").count(kills.DAMAGED),
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
    with kills.Process([*options, "--overwrite"], alone, folder / "reference.txt") as process:
        process.finish()
    log = kills.read_log(alone)
    found = lives(config, options, killed, log[-1]["step"])
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (alone, killed)]
    digests = [metric["parameters_sha256"] for metric in metrics]
    return {
        "bit_identical": digests[0] == digests[1],
        **derive(found, interval=config.checkpoint_steps, line_steps=log[0]["chunk_steps"]),
        **compare_logs(log, kills.read_log(killed)),
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
