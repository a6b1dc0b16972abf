"""Cells of a grid: each is compiled and run once for its errors, then all are timed."""

import contextlib
import itertools
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.shared.ode_problems import Problem
from benchmarks.shared.timing import interleave
from jaxvae import ode

Row = dict[str, Any]
OK, FAILED = "ok", "failed"
FORWARD, GRADIENT, COUNT = "forward", "gradient", "count"

_TURN_SECONDS, _MOST_CALLS = 0.005, 50
_MOST_CELLS = 40
_TOLERANCES = (1e-12, 1e-10)


class Cell(NamedTuple):
    """A way to solve and to differentiate a problem.

    Attributes:
        dtype: float32 or float64.
        integrator: solver, controller, adjoint and limits.
        part: of the grid, for the pictures.
    """

    dtype: str
    integrator: ode.Integrator
    part: str = "grid"


class Reference(NamedTuple):
    """Solution and gradients in float64, and their uncertainty.

    Attributes:
        values: the solution at the times.
        gradients: with respect to z0 and params.
        uncertainty: relative distances from the results with a hundred times the tolerance.
    """

    values: Any
    gradients: dict[str, Any]
    uncertainty: dict[str, float]


class Program:
    """A compiled function of parameters, state and times, which has run once.

    Args:
        function: of the problem's arguments.
        problem: has these arguments.
        dtype: of the arguments.
    """

    def __init__(self, function: Callable[..., Any], problem: Problem, dtype: str):
        self._wide = dtype == "float64"
        with jax.enable_x64(self._wide):
            self._arguments = problem.arguments(dtype)
            started = time.perf_counter()
            self._run = jax.jit(function).lower(*self._arguments).compile()
            self.compile_seconds = time.perf_counter() - started
            with _silent():
                started = time.perf_counter()
                self.result = jax.device_get(self._run(*self._arguments))
                jax.effects_barrier()
                first = time.perf_counter() - started
        self._calls = min(max(round(_TURN_SECONDS / first), 1), _MOST_CALLS)

    def __call__(self) -> float:
        """Mean seconds of a call, over as many calls as take a few milliseconds."""
        with jax.enable_x64(self._wide):
            started = time.perf_counter()
            for _ in range(self._calls):
                jax.block_until_ready(self._run(*self._arguments))
            return (time.perf_counter() - started) / self._calls

    @property
    def temporary_bytes(self) -> int | None:
        """Memory of the compiled program apart from its arguments and results."""
        analysis = self._run.memory_analysis()
        return None if analysis is None else analysis.temp_size_in_bytes


def measure(
    problem: Problem,
    cells: Sequence[Cell],
    *,
    repeats: int,
    count: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> tuple[list[Row], Reference]:
    """A row for each cell, also for cells that fail.

    The repeats of cells are interleaved within groups of limited size: a compiled program holds
    hundreds of memory maps, of which Linux allows a process 65,530.

    Args:
        problem: to be solved.
        cells: ways to solve it.
        repeats: of each cell; the median time counts.
        count: whether to count the evaluations of the vector field in a gradient, in a further run
            that is compiled for it; not for batches.
        advance: called after each cell, for a progress bar.

    Returns:
        The rows and the reference that their errors refer to.
    """
    exact = reference(problem)
    groups = -(-len(cells) // _MOST_CELLS)
    rows = [
        _measure_group(problem, cells[first::groups], exact, repeats, count, advance)
        for first in range(groups)
    ]
    return [rows[n % groups][n // groups] for n in range(len(cells))], exact


def _measure_group(
    problem: Problem,
    cells: Sequence[Cell],
    exact: Reference,
    repeats: int,
    count: bool,
    advance: Callable[[], object],
) -> list[Row]:
    """Rows of a few cells, whose programs exist together and whose repeats are interleaved."""
    programs: dict[tuple[int, str], Program] = {}
    rows: list[Row] = []
    for number, cell in enumerate(cells):
        row = labels(problem, cell) | {"status": OK, "reason": None}
        stage = FORWARD
        try:
            programs[number, stage] = _forward(problem, cell, exact, row)
            stage = GRADIENT
            programs[number, stage] = _gradient(problem, cell, exact, row)
            if count and problem.batch is None:
                stage = COUNT
                row["evaluations_with_gradient"] = _counted(problem, cell)
        except Exception as error:  # The other cells are measured whatever fails in this one.
            row["reason"] = f"{stage}: {reason_of(error)}"
            if stage != COUNT:
                row["status"] = FAILED
        rows.append(row)
        advance()
    for (number, stage), seconds in interleave(programs, repeats).items():
        rows[number][f"{stage}_seconds"] = float(np.median(seconds))
    return rows


def labels(problem: Problem, cell: Cell) -> Row:
    """The settings of a cell as plain numbers and names."""
    integrator = cell.integrator
    adjoint, controller = integrator.adjoint, integrator.controller
    seminorm = getattr(adjoint, "seminorm", False)
    return {
        "part": cell.part,
        "problem": problem.name,
        "batch": problem.batch,
        "dtype": cell.dtype,
        "solver": type(integrator.solver).__name__,
        "rtol": getattr(controller, "rtol", None),
        "atol": getattr(controller, "atol", None),
        "step": integrator.dt0,
        "adjoint": type(adjoint).__name__ + (" seminorm" if seminorm else ""),
        "checkpoints": getattr(adjoint, "checkpoints", None),
        "max_steps": integrator.max_steps,
    }


def reason_of(error: Exception) -> str:
    """One line: the library's own message if a run-time error wraps it, otherwise the first."""
    text = str(error).strip()
    wrapped = re.search(r"EquinoxRuntimeError: (.+)", text)
    if wrapped:
        return wrapped.group(1)
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"[:300]


def _forward(problem: Problem, cell: Cell, exact: Reference, row: Row) -> Program:
    def solved(params, z0, ts):
        solution = problem.solve(params, z0, ts, cell.integrator)
        return solution.values, solution.stats

    program = Program(solved, problem, cell.dtype)
    values, stats = program.result
    row |= {
        "forward_compile_seconds": program.compile_seconds,
        "forward_memory_bytes": program.temporary_bytes,
        "steps": int(stats.steps),
        "rejected": int(stats.rejected),
        "evaluations": None if stats.evaluations is None else int(stats.evaluations),
        "solution_error": _known(relative_error(values, exact.values), "the solution"),
    }
    return program


def _gradient(problem: Problem, cell: Cell, exact: Reference, row: Row) -> Program:
    program = Program(_gradients_of(problem, cell), problem, cell.dtype)
    params, z0 = program.result
    row |= {
        "compile_seconds": program.compile_seconds,
        "gradient_memory_bytes": program.temporary_bytes,
        "device_peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }
    for name, found in (("z0", z0), ("params", params)):
        error = relative_error(found, exact.gradients[name])
        row[f"{name}_gradient_error"] = _known(error, f"the gradient of {name}")
    return program


def _gradients_of(problem: Problem, cell: Cell) -> Callable[..., Any]:
    def loss(params, z0, ts):
        return problem.loss(problem.solve(params, z0, ts, cell.integrator).values)

    forwards = isinstance(cell.integrator.adjoint, ode.ForwardMode)
    return (jax.jacfwd if forwards else jax.grad)(loss, argnums=(0, 1))


def _counted(problem: Problem, cell: Cell) -> int:
    calls = itertools.count()

    def count(_: Any) -> None:
        next(calls)

    def field(t, z, params):
        jax.debug.callback(count, t)
        return problem.field(t, z, params)

    Program(_gradients_of(problem._replace(field=field), cell), problem, cell.dtype)
    return next(calls)


def _known(error: float, of: str) -> float:
    if not math.isfinite(error):
        raise FloatingPointError(f"{of} is not finite")
    return error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence JAX's log: a failure becomes a row and need not be logged with its frames."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def reference(problem: Problem) -> Reference:
    """The solution by ``Dopri8``, differentiated step by step, with two tolerances."""

    def loss_and_values(params, z0, ts, rtol):
        controller = ode.PIDController(rtol=rtol, atol=rtol / 100)
        integrator = ode.Integrator(ode.Dopri8(), controller, max_steps=2**15)
        values = problem.solve(params, z0, ts, integrator).values
        return problem.loss(values), values

    with jax.enable_x64(True):
        run = jax.jit(jax.grad(loss_and_values, argnums=(0, 1), has_aux=True))
        (exact, values), (other, nearby) = (
            jax.device_get(run(*problem.arguments("float64"), rtol)) for rtol in _TOLERANCES
        )
    uncertainty = {
        "solution": relative_error(nearby, values),
        "z0": relative_error(other[1], exact[1]),
        "params": relative_error(other[0], exact[0]),
    }
    return Reference(values, {"z0": exact[1], "params": exact[0]}, uncertainty)


def relative_error(found: Any, exact: Any) -> float:
    r"""$\|a - b\|_2/\|b\|_2$ over all entries of all leaves, in float64."""
    ours, theirs = (
        np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)])
        for tree in (found, exact)
    )
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
