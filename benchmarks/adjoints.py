"""Adjoints: time, memory, evaluations and exactness of gradients through a solve.

    python -m benchmarks.adjoints --out benchmark-results/adjoints

Each problem is solved adaptively (Tsit5, or Kvaerno5 if it is stiff) and with fixed steps (RK4),
and differentiated by every applicable adjoint, in float32 and float64. One of them is solved with
100 to 10,000 fixed steps, for memory against steps. Compilation is timed apart. The repeats of the
cells of a problem are interleaved (A B A B), and the median counts. Errors are relative, in the
2-norm over all entries, against a float64 solution with a tolerance of 1e-12 that is differentiated
step by step.

    forward_seconds, gradient_seconds    of a solve; of loss, solve and gradient together
    forward_memory_bytes, gradient_...   temporary memory of the compiled program
    device_peak_bytes                    of the process so far, if the device measures it
    steps, rejected, evaluations         of the solve; evaluations of the vector field
    evaluations_with_gradient            those of solve and gradient, where the evaluation in a
                                         derivative counts as one; in a run of its own, not for
                                         batches
    solution_error, z0_gradient_error, params_gradient_error
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import jax
from matplotlib.figure import Figure

from benchmarks.shared import machine, ode_grid, ode_report
from benchmarks.shared.ode_cells import Cell, Row
from benchmarks.shared.ode_problems import Problem, ProblemName
from jaxvae import ode, plotting


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    problems: tuple[ProblemName, ...] = get_args(ProblemName)
    """Problems to solve."""
    dtypes: tuple[Literal["float32", "float64"], ...] = ("float32", "float64")
    """Precisions to solve them in."""
    tolerances: tuple[float, ...] = (1e-3, 1e-6)
    """Relative tolerances of adaptive solves; absolute ones are a hundredth of them."""
    checkpoints: tuple[int, ...] = (8, 64)
    """Numbers of checkpoints, besides the default number and as many as steps."""
    steps: tuple[int, ...] = (100, 316, 1000, 3162, 10_000)
    """Numbers of fixed steps in the comparison of memory."""
    steps_problem: ProblemName = "mlp64"
    """Problem of the comparison of memory, if it is one of those solved."""
    forward_inputs: int = 32
    """Largest number of entries of a gradient that is also computed in forward mode."""
    repeats: int = 7
    """Repeats of each cell."""
    threads: int = field(default_factory=machine.two_at_most)
    """Processors of the process."""
    count: bool = True
    """Whether to count the evaluations in gradients, which compiles each cell once more."""
    quick: bool = False
    """Measure only a few cells of each problem in float32, in a minute or two."""
    out: str | None = None
    """Folder for results.csv, results.json and pictures; none by default."""


def quickened(config: Config) -> Config:
    """The configuration of --quick."""
    return replace(
        config,
        quick=True,
        problems=tuple(name for name in config.problems if name != "latent1000"),
        dtypes=("float32",),
        tolerances=(1e-6,),
        checkpoints=(),
        steps=(100, 1000),
        repeats=3,
        count=False,
    )


def cells(config: Config, problem: Problem) -> list[Cell]:
    """All ways to differentiate a problem, in all precisions."""
    solver = ode.Kvaerno5() if problem.stiff else ode.Tsit5()
    plan: list[tuple[str, ode.Integrator]] = []
    for rtol in config.tolerances:
        adaptive = ode.adaptive(rtol, rtol / 100, solver=solver, max_steps=problem.max_steps)
        plan += [("adaptive", replace(adaptive, adjoint=a)) for a in _adjoints(config, problem)]
    coarse = ode_grid.fixed(problem, problem.fixed_steps)
    plan += [
        ("fixed", replace(coarse, adjoint=adjoint))
        for adjoint in _adjoints(config, problem, coarse.max_steps)
    ]
    if problem.name == config.steps_problem:
        for steps in config.steps:
            how = ode_grid.fixed(problem, steps)
            adjoints = _adjoints(config, problem, how.max_steps)
            plan += [("steps", replace(how, adjoint=adjoint)) for adjoint in adjoints]
    return [Cell(dtype, how, part) for dtype in config.dtypes for part, how in plan]


def _adjoints(config: Config, problem: Problem, fixed_steps: int | None = None) -> list[Any]:
    """Adjoints for fixed steps, whose limit is given, or for adaptive ones."""
    most = problem.max_steps if fixed_steps is None else fixed_steps
    few = [ode.Checkpointed(number) for number in config.checkpoints if number < most]
    found: list[Any] = [ode.Checkpointed(), *few]
    if config.quick:
        return [*found, ode.Backsolve() if fixed_steps is None else ode.Reversible()]
    found += [ode.Checkpointed(most), ode.Direct(), ode.Backsolve()]
    found.append(ode.Backsolve(seminorm=True) if fixed_steps is None else ode.Reversible())
    if problem.inputs <= config.forward_inputs:
        found.append(ode.ForwardMode())
    return found


def figures(rows: list[Row]) -> Mapping[str, Figure]:
    """Time against the error of gradients, and memory against the number of steps."""
    grid = ode_grid.panels(
        [row for row in rows if row["part"] != "steps"],
        lambda row: f"{_adjoint_of(row)}, {row['solver']}",
        lambda row: (ode_report.gradient_error(row), row["gradient_seconds"]),
    )
    drawn = {}
    if grid:
        labels = ("relative error of the gradient", "forward and gradient (s)")
        drawn["gradient_work_precision"] = plotting.work_precision(grid, labels=labels)
    sweep = ode_grid.panels(
        [row for row in rows if row["part"] == "steps" and row["gradient_memory_bytes"]],
        _adjoint_of,
        lambda row: (row["steps"], row["gradient_memory_bytes"]),
        most=math.inf,
    )
    if sweep:
        drawn["memory_against_steps"] = plotting.memory_against_steps(sweep)
    return drawn


def _adjoint_of(row: Row) -> str:
    kept = row["checkpoints"]
    if kept is None:
        return row["adjoint"]
    return f"{row['adjoint']} {'all' if kept == row['max_steps'] else kept}"


def main(config: Config) -> dict[str, Any]:
    """Measure, print and save; returns the results."""
    config = quickened(config) if config.quick else config
    return ode_grid.run("adjoints", config, lambda problem: cells(config, problem), figures)


if __name__ == "__main__":
    import tyro

    options = tyro.cli(Config, description=__doc__)
    jax.config.update("jax_enable_compilation_cache", False)
    main(options)
