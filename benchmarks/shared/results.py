"""The results of a benchmark: a table of its contenders, and results.json."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxvae import training


def ranges(seconds: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Median, shortest and longest time of each contender, beside all of its times."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "median_seconds": medians,
        "range_seconds": {name: [min(times), max(times)] for name, times in seconds.items()},
        "seconds": dict(seconds),
    }


def table(results: Mapping[str, Any], milliseconds: Mapping[str, float]) -> str:
    """A row for each contender, then all single numbers and names of the results.

    Args:
        results: with ``steps``, ``range_seconds`` and ``compile_seconds``; ``steps`` is a number
            or has one for each contender.
        milliseconds: median time of a step of each contender.
    """
    rows = [f"{'':<28}{'ms per step':>12}{'fastest':>10}{'slowest':>10}{'compile s':>11}"]
    for name, median in milliseconds.items():
        steps = results["steps"]
        steps = steps[name] if isinstance(steps, Mapping) else steps
        low, high = (1e3 * t / steps for t in results["range_seconds"][name])
        compile_seconds = results["compile_seconds"][name]
        rows.append(f"{name:<28}{median:>12.3f}{low:>10.3f}{high:>10.3f}{compile_seconds:>11.2f}")
    single = {name: value for name, value in results.items() if isinstance(value, float | str)}
    return "\n".join([*rows, "", training.format_metrics(single), *results.get("missing", [])])


def save(results: Mapping[str, Any], out: str | Path | None) -> None:
    """Write results.json into the folder, if there is one."""
    if out is None:
        return
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    path.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    print(f"\nResults: {path}")
