"""The run of a grid of cells over all problems, and the panels of its pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure
from tqdm.auto import tqdm

from benchmarks.shared import machine, ode_report
from benchmarks.shared.ode_cells import Cell, Row, measure
from benchmarks.shared.ode_problems import Problem, make
from jaxvae import ode

MOST_WRONG = 10.0
"""Largest relative error of a row that is drawn."""


def run(
    benchmark: str,
    config: Any,
    cells: Callable[[Problem], Sequence[Cell]],
    figures: Callable[[list[Row]], Mapping[str, Figure]],
) -> dict[str, Any]:
    """Measure all cells, print and save; returns the results.

    Rows are saved after each problem, and the pictures at the end.

    Args:
        benchmark: its name.
        config: a dataclass with ``problems``, ``repeats``, ``threads``, ``count`` and ``out``.
        cells: takes a problem and returns its cells.
        figures: takes all rows and returns pictures by name.
    """
    with machine.processors(config.threads) as chosen:
        grid = [(problem, cells(problem)) for problem in map(make, config.problems)]
        rows, problems, results = [], {}, {}
        with tqdm(total=sum(len(each) for _, each in grid), unit="cell", leave=False) as bar:
            for problem, each in grid:
                bar.set_description(problem.name)
                found, exact = measure(
                    problem, each, repeats=config.repeats, count=config.count, advance=bar.update
                )
                rows += ode_report.complete(found)
                problems[problem.name] = {
                    "about": problem.about,
                    "gradient_entries": problem.inputs,
                    "reference": "Dopri8, float64, tolerance 1e-12, Checkpointed",
                    "reference_uncertainty": exact.uncertainty,
                }
                results = {
                    "benchmark": benchmark,
                    "config": asdict(config),
                    "processors": chosen,
                    "problems": problems,
                    "rows": rows,
                    "recommendations": ode_report.recommend(rows),
                    **machine.describe(),
                }
                if config.out is not None:
                    ode_report.save(config.out, results, {})
    print(ode_report.table(rows), "", sep="\n")
    print(*(each["sentence"] for each in results["recommendations"]), sep="\n")
    if config.out is not None:
        paths = ode_report.save(config.out, results, figures(rows))
        print(f"\nResults: {', '.join(map(str, paths.values()))}")
    return results


def fixed(problem: Problem, steps: int, solver: Any = None, adjoint: Any = None) -> ode.Integrator:
    """``steps`` steps of equal length; the limit allows one more for each time that is met."""
    return ode.fixed_steps(
        float(problem.ts[-1] - problem.ts[0]) / steps,
        solver=solver,
        adjoint=adjoint or ode.Checkpointed(),
        max_steps=steps + len(problem.ts) + 1,
    )


def panels(
    rows: Sequence[Row],
    curve: Callable[[Row], str],
    point: Callable[[Row], tuple[float, float]],
    *,
    most: float = MOST_WRONG,
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Points of the rows without failure, by problem and dtype and then by curve.

    Args:
        rows: of a grid.
        curve: takes a row and returns the name of its curve.
        point: takes a row and returns its coordinates.
        most: largest first coordinate that is drawn. The error of an exploding gradient can be any
            power of ten and would hide all others.
    """
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in ode_report.measured(rows):
        title, (x, y) = f"{row['problem']}, {row['dtype']}", point(row)
        if x <= most:
            found.setdefault(title, {}).setdefault(curve(row), []).append((x, y))
    return found
