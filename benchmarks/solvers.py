"""Solvers: time against accuracy, of the solution and of its gradient (work-precision).

    python -m benchmarks.solvers --out benchmark-results/solvers

The solvers are explicit ones with several tolerances, implicit ones if the state is small, and ones
with fixed steps. All use the ``Checkpointed`` adjoint, whose gradient is exact for the computed
solution. Columns, norms and reference are those of ``benchmarks.adjoints``. All tolerances have the
same limit of steps, so that their memory cannot be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import jax
from matplotlib.figure import Figure

from benchmarks.shared import machine, ode_grid, ode_report
from benchmarks.shared.ode_cells import Cell, Row
from benchmarks.shared.ode_problems import Problem, ProblemName
from jaxvae import ode, plotting

EXPLICIT = (ode.Bosh3(), ode.Tsit5(), ode.Dopri5(), ode.Dopri8())
IMPLICIT = (ode.Kvaerno3(), ode.Kvaerno5())
FIXED = (ode.RK4(), ode.Heun(), ode.Euler())


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    problems: tuple[ProblemName, ...] = get_args(ProblemName)
    """Problems to solve."""
    dtypes: tuple[Literal["float32", "float64"], ...] = ("float32", "float64")
    """Precisions to solve them in."""
    tolerances: tuple[float, ...] = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
    """Relative tolerances; absolute ones are a hundredth of them. Float32 has none below 1e-6."""
    multiples: tuple[float, ...] = (1.0, 4.0)
    """Multiples of a problem's own number of fixed steps."""
    implicit_size: int = 64
    """Largest number of entries of a state for which implicit solvers are tried."""
    max_steps: int = 2**15
    """Steps after which an adaptive solve fails."""
    repeats: int = 7
    """Repeats of each cell."""
    threads: int = field(default_factory=machine.two_at_most)
    """Processors of the process."""
    count: bool = False
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
        tolerances=(1e-3, 1e-6),
        multiples=(),
        implicit_size=0,
        max_steps=2**12,
        repeats=3,
    )


def cells(config: Config, problem: Problem) -> list[Cell]:
    """All solvers with all tolerances, in all precisions."""
    small = problem.z0.size <= config.implicit_size
    solvers = EXPLICIT[1:3] if config.quick else EXPLICIT
    if problem.stiff and config.quick:
        solvers = IMPLICIT
    elif small:
        solvers = (*solvers, *IMPLICIT)
    adaptive = [
        ode.adaptive(rtol, rtol / 100, solver=solver, max_steps=config.max_steps)
        for solver in solvers
        for rtol in config.tolerances
    ]
    fixed = [
        ode_grid.fixed(problem, round(multiple * problem.fixed_steps), solver)
        for solver in FIXED
        for multiple in config.multiples
    ]
    return [
        Cell(dtype, how)
        for dtype in config.dtypes
        for how in (*adaptive, *fixed)
        if dtype == "float64" or getattr(how.controller, "rtol", 1.0) >= 1e-6
    ]


def figures(rows: list[Row]) -> Mapping[str, Figure]:
    """Work-precision of the solution and of the gradient."""
    measures = {
        "work_precision": ("solution", "forward", lambda row: row["solution_error"]),
        "gradient_work_precision": ("gradient", "gradient", ode_report.gradient_error),
    }
    drawn = {}
    for name, (label, stage, error) in measures.items():
        seconds = f"{stage}_seconds"
        grid = ode_grid.panels(
            rows, lambda row: row["solver"], lambda r, e=error, s=seconds: (e(r), r[s])
        )
        if grid:
            what = "forward (s)" if stage == "forward" else "forward and gradient (s)"
            labels = (f"relative error of the {label}", what)
            drawn[name] = plotting.work_precision(grid, labels=labels)
    return drawn


def main(config: Config) -> dict[str, Any]:
    """Measure, print and save; returns the results."""
    config = quickened(config) if config.quick else config
    return ode_grid.run("solvers", config, lambda problem: cells(config, problem), figures)


if __name__ == "__main__":
    import tyro

    options = tyro.cli(Config, description=__doc__)
    jax.config.update("jax_enable_compilation_cache", False)
    main(options)
