"""Reports on the rows of a grid: a CSV file, results.json, recommendations and a table."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.shared.ode_cells import OK, Row

COLUMNS = (
    "part",
    "problem",
    "batch",
    "dtype",
    "solver",
    "rtol",
    "atol",
    "step",
    "adjoint",
    "checkpoints",
    "max_steps",
    "status",
    "reason",
    "forward_compile_seconds",
    "compile_seconds",
    "forward_seconds",
    "gradient_seconds",
    "forward_memory_bytes",
    "gradient_memory_bytes",
    "device_peak_bytes",
    "steps",
    "rejected",
    "evaluations",
    "evaluations_with_gradient",
    "solution_error",
    "z0_gradient_error",
    "params_gradient_error",
)
BOUND = 1e-3


def complete(rows: Iterable[Row]) -> list[Row]:
    """Rows with all columns, None where nothing was measured."""
    return [dict.fromkeys(COLUMNS) | row for row in rows]


def save(
    folder: str | Path, results: Mapping[str, Any], figures: Mapping[str, Figure]
) -> dict[str, Path]:
    """Write ``results.csv``, ``results.json`` and a PNG for each figure; returns their paths."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    names = ("results.csv", "results.json", *(f"{name}.png" for name in figures))
    paths = {name: target / name for name in names}
    with paths["results.csv"].open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(results["rows"])
    paths["results.json"].write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    for name, figure in figures.items():
        figure.savefig(paths[f"{name}.png"])
    return paths


def recommend(rows: Sequence[Row], *, bound: float = BOUND) -> list[dict[str, Any]]:
    """The cheapest row whose gradient is within a relative bound, for each problem and dtype.

    Returns:
        Records with ``problem``, ``dtype``, ``bound``, ``fastest`` and ``leanest`` (descriptions,
        or None if no row is within the bound), their ``gradient_seconds`` and
        ``gradient_memory_bytes``, and a ``sentence`` that says all of this.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["problem"], row["dtype"]), []).append(row)
    return [_recommendation(*key, group, bound) for key, group in groups.items()]


def gradient_error(row: Row) -> float:
    """The larger of the errors of both gradients."""
    return max(row["z0_gradient_error"], row["params_gradient_error"])


def describe(row: Row) -> str:
    """The adjoint, the solver and the tolerance or step of a row."""
    kept = "" if row["checkpoints"] is None else f" keeping {row['checkpoints']}"
    how = f"tolerance {row['rtol']:g}" if row["rtol"] is not None else f"steps of {row['step']:.3g}"
    return f"{row['adjoint']}{kept}, {row['solver']}, {how}"


def measured(rows: Iterable[Row]) -> list[Row]:
    """Rows without failure."""
    return [row for row in rows if row["status"] == OK]


def table(rows: Sequence[Row]) -> str:
    """A line for each row: settings, times, memory and relative errors, or the failure."""
    names = [f"{row['problem']:<12}{row['dtype']:<9}{describe(row)}" for row in rows]
    width = max(map(len, names), default=0)
    lines = [
        f"{'':<{width}}{'compile s':>10}{'forward ms':>12}{'gradient ms':>12}{'KiB':>10}"
        f"{'steps':>8}{'solution off':>14}{'gradient off':>14}"
    ]
    for name, row in zip(names, rows, strict=True):
        if row["status"] != OK:
            lines.append(f"{name:<{width}} failed, {row['reason']}")
            continue
        memory = row["gradient_memory_bytes"]
        lines.append(
            f"{name:<{width}}{row['compile_seconds']:>10.2f}{1e3 * row['forward_seconds']:>12.3f}"
            f"{1e3 * row['gradient_seconds']:>12.3f}"
            f"{'?' if memory is None else format(memory / 1024, '.0f'):>10}{row['steps']:>8}"
            f"{row['solution_error']:>14.1e}{gradient_error(row):>14.1e}"
        )
    return "\n".join(lines)


def _recommendation(problem: str, dtype: str, rows: list[Row], bound: float) -> dict[str, Any]:
    ran = measured(rows)
    good = [row for row in ran if gradient_error(row) <= bound]
    record = {"problem": problem, "dtype": dtype, "bound": bound}
    if not good:
        nearest = min(ran, key=gradient_error, default=None)
        came = (
            "all cells failed"
            if nearest is None
            else f"the nearest is {describe(nearest)}, off by {gradient_error(nearest):.1e}"
        )
        return record | {
            "fastest": None,
            "leanest": None,
            "gradient_seconds": None,
            "gradient_memory_bytes": None,
            "sentence": f"{problem}, {dtype}: no gradient within {bound:g}; {came}",
        }
    fastest = min(good, key=lambda row: row["gradient_seconds"])
    leanest = min(good, key=lambda row: row["gradient_memory_bytes"] or 0)
    memory = leanest["gradient_memory_bytes"]
    spare = (
        "" if memory is None else f"; least memory: {describe(leanest)} ({memory / 1024:.0f} KiB)"
    )
    return record | {
        "fastest": describe(fastest),
        "leanest": describe(leanest),
        "gradient_seconds": fastest["gradient_seconds"],
        "gradient_memory_bytes": memory,
        "sentence": f"{problem}, {dtype}: cheapest adjoint within {bound:g} of the exact gradient: "
        f"{describe(fastest)} ({1e3 * fastest['gradient_seconds']:.3g} ms, off by "
        f"{gradient_error(fastest):.1e}){spare}",
    }
