"""Benchmarks of differential equations: problems, cells, reports, and tiny runs."""

import csv
import functools
import json
import math
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import adjoints, solvers
from benchmarks.shared import ode_cells, ode_grid, ode_problems, ode_report
from benchmarks.shared.ode_cells import (
    FAILED,
    OK,
    Cell,
    Reference,
    measure,
    relative_error,
)
from benchmarks.shared.ode_problems import MAKERS, Problem, ProblemName
from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

RATE, START, END = 0.5, 2.0, 1.0
make = functools.cache(ode_problems.make)


def decay(t, z, params):
    del t
    return -params["rate"] * z


def tiny():
    return Problem(
        name="tiny",
        field=decay,
        params={"rate": np.array(RATE)},
        z0=np.array([START]),
        ts=np.array([0.0, END]),
        loss=lambda values: jnp.sum(values[-1]),
        batch=None,
        fixed_steps=4,
        max_steps=16,
        stiff=False,
        about="",
    )


@pytest.fixture(scope="module")
def measured():
    """A cell with too few steps allowed, and one of four steps of RK4."""
    cells = [
        Cell("float32", ode.fixed_steps(0.25, max_steps=3)),
        Cell("float64", ode.fixed_steps(0.25, adjoint=ode.Direct(), max_steps=4)),
    ]
    done = []
    rows, exact = measure(tiny(), cells, repeats=2, count=True, advance=lambda: done.append(1))
    assert len(done) == 2
    return ode_report.complete(rows), exact


@pytest.fixture
def exact(monkeypatch, measured):
    """Spares a test the solution of its own that errors refer to."""
    monkeypatch.setattr(ode_cells, "reference", lambda problem: measured[1])


def test_the_reference_is_the_closed_form(measured):
    _, exact = measured
    end = START * math.exp(-RATE * END)
    np.testing.assert_allclose(exact.values[-1], [end], rtol=1e-11)
    np.testing.assert_allclose(exact.gradients["z0"], [end / START], rtol=1e-11)
    np.testing.assert_allclose(exact.gradients["params"]["rate"], -END * end, rtol=1e-11)
    assert set(exact.uncertainty) == {"solution", "z0", "params"}
    assert max(exact.uncertainty.values()) < 1e-9


def test_a_row_has_the_errors_steps_and_evaluations_of_its_cell(measured):
    (_, wide), _ = measured
    h = 0.25 * RATE
    factor = (1 - h + h**2 / 2 - h**3 / 6 + h**4 / 24) ** 4
    error = abs(START * factor - START * math.exp(-RATE)) / math.hypot(
        START, START * math.exp(-RATE)
    )
    assert wide["solution_error"] == pytest.approx(error, rel=1e-4)
    assert wide["z0_gradient_error"] == pytest.approx(abs(factor / math.exp(-RATE) - 1), rel=1e-4)
    assert (wide["status"], wide["reason"]) == (OK, None)
    assert (wide["steps"], wide["rejected"], wide["evaluations"]) == (4, 0, 17)
    assert wide["evaluations_with_gradient"] >= 17
    assert wide["gradient_memory_bytes"] >= 0
    assert min(wide[key] for key in wide if key.endswith("seconds")) > 0
    assert (wide["adjoint"], wide["solver"], wide["step"]) == ("Direct", "RK4", 0.25)


def test_a_failing_cell_is_a_row_with_its_reason(measured):
    (failed, after), _ = measured
    assert failed["status"] == FAILED
    assert failed["reason"].startswith("forward: solve: RK4 took max_steps=3 steps")
    assert failed["forward_seconds"] is None
    assert failed["gradient_seconds"] is None
    assert after["status"] == OK


def test_what_is_not_finite_is_a_failure(exact):
    problem = tiny()._replace(loss=lambda values: jnp.sum(jnp.sqrt(values[-1] - values[-1])))
    (row,), _ = measure(problem, [Cell("float32", ode.fixed_steps(0.5))], repeats=1)
    assert row["status"] == FAILED
    assert row["reason"] == "gradient: FloatingPointError: the gradient of z0 is not finite"
    assert row["forward_seconds"] > 0


def test_relative_errors_are_in_the_norm_of_all_leaves():
    found = {"a": np.array([3.0, 0.0]), "b": np.array(1.0)}
    exact = {"a": np.array([3.0, 4.0]), "b": np.array(1.0)}
    assert relative_error(found, exact) == pytest.approx(4 / math.sqrt(26))


def test_problems_are_the_same_in_both_precisions():
    assert tuple(MAKERS) == get_args(ProblemName)
    for name in ("circle", "latent64", "van_der_pol"):
        problem = make(name)
        assert problem.name == name
        for x in jax.tree.leaves((problem.params, problem.z0, problem.ts)):
            np.testing.assert_array_equal(x, x.astype(np.float32))
        values = np.zeros((*((problem.batch,) if problem.batch else ()), len(problem.ts), 4))
        assert np.shape(problem.loss(jnp.asarray(values, "float32"))) == ()
    with pytest.raises(ValueError, match="expected names among circle"):
        make("square")


def test_the_circle_and_the_latent_states_are_looked_at_where_their_data_are():
    circle, latent = make("circle"), make("latent64")
    exact = jnp.stack([jnp.cos(circle.ts), jnp.sin(circle.ts)], axis=1)
    assert circle.loss(exact) < 1e-12
    assert latent.z0.shape == (64, 4)
    assert len(latent.ts) == 100
    assert latent.ts[-1] == pytest.approx(99 * 6 * math.pi / 499, rel=1e-6)


@pytest.mark.parametrize("benchmark", [adjoints, solvers])
def test_the_grid_has_no_cell_twice_and_no_adjoint_where_it_cannot_be(benchmark):
    config = benchmark.Config()
    for name in ("circle", "van_der_pol", "latent64"):
        cells = benchmark.cells(config, make(name))
        assert len({repr(cell) for cell in cells}) == len(cells)
        assert {cell.dtype for cell in cells} == {"float32", "float64"}
        implicit = {type(c.integrator.solver).__name__ for c in cells} & {"Kvaerno3", "Kvaerno5"}
        assert bool(implicit) == (name != "latent64" if benchmark is solvers else name[0] == "v")
        quick = benchmark.cells(benchmark.quickened(config), make(name))
        assert len(quick) == 4


def test_adjoints_has_every_adjoint_and_every_number_of_steps():
    config = adjoints.Config(dtypes=("float64",), steps_problem="circle")
    cells = adjoints.cells(config, make("circle"))
    names = {type(cell.integrator.adjoint).__name__ for cell in cells}
    assert names == {"Checkpointed", "Direct", "Backsolve", "ForwardMode", "Reversible"}
    assert sum(cell.integrator.adjoint == ode.Backsolve(seminorm=True) for cell in cells) == 2
    swept = {cell.integrator.dt0 for cell in cells if cell.part == "steps"}
    span = make("circle").ts[-1]
    assert sorted(swept) == pytest.approx([span / n for n in sorted(config.steps, reverse=True)])


def made_up(seconds, error, memory, **changes):
    return (
        dict.fromkeys(ode_report.COLUMNS)
        | {
            "problem": "p",
            "dtype": "float32",
            "solver": "Tsit5",
            "rtol": 1e-6,
            "adjoint": "Direct",
            "status": OK,
            "gradient_seconds": seconds,
            "gradient_memory_bytes": memory,
            "z0_gradient_error": error,
            "params_gradient_error": error / 2,
        }
        | changes
    )


def test_the_recommendation_is_the_cheapest_within_the_bound():
    rows = [
        made_up(1.0, 2e-3, 10, adjoint="Backsolve"),
        made_up(2.0, 1e-3, 3000, adjoint="Checkpointed", checkpoints=8),
        made_up(3.0, 1e-9, 2048, adjoint="Reversible"),
        made_up(None, 0.0, 1, status=FAILED),
        made_up(0.1, 5e-4, 1, problem="q", z0_gradient_error=2e-3),
        made_up(None, 0.0, 1, problem="r", status=FAILED),
    ]
    first, second, third = ode_report.recommend(rows)
    assert first["fastest"] == "Checkpointed keeping 8, Tsit5, tolerance 1e-06"
    assert (first["gradient_seconds"], first["gradient_memory_bytes"]) == (2.0, 2048)
    assert "least memory: Reversible, Tsit5, tolerance 1e-06 (2 KiB)" in first["sentence"]
    assert second["fastest"] is None
    assert second["sentence"].endswith(
        "the nearest is Direct, Tsit5, tolerance 1e-06, off by 2.0e-03"
    )
    assert third["sentence"].endswith("all cells failed")


def assert_files_agree(folder, results):
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    with (folder / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(ode_report.COLUMNS)
    for line, row in zip(lines, results["rows"], strict=True):
        assert line == {key: "" if value is None else str(value) for key, value in row.items()}


def test_a_tiny_run_of_adjoints(tmp_path, capsys, monkeypatch, exact):
    monkeypatch.setitem(MAKERS, "tiny", tiny)
    monkeypatch.setattr(adjoints, "_adjoints", lambda *_: [ode.Checkpointed()])
    config = adjoints.Config(
        problems=("tiny",),
        dtypes=("float64",),
        tolerances=(),
        steps=(2,),
        steps_problem="tiny",
        repeats=1,
        threads=1,
        count=False,
        out=str(tmp_path),
    )
    results = adjoints.main(config)
    assert [row["steps"] for row in results["rows"]] == [4, 2]
    assert [row["part"] for row in results["rows"]] == ["fixed", "steps"]
    assert_files_agree(tmp_path, results)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "gradient_work_precision.png",
        "memory_against_steps.png",
    }
    assert "diffrax" in results["versions"]
    assert "tiny, float64: cheapest adjoint within 0.001" in capsys.readouterr().out


def test_rows_keep_the_order_of_their_cells_when_these_are_measured_in_groups(monkeypatch, exact):
    def rows_of(problem, cells, *args):
        return [ode_cells.labels(problem, cell) for cell in cells]

    monkeypatch.setattr(ode_cells, "_MOST_CELLS", 2)
    monkeypatch.setattr(ode_cells, "_measure_group", rows_of)
    steps = [2, 3, 4, 5, 6]
    cells = [Cell("float32", ode.fixed_steps(END / n, max_steps=n + 1)) for n in steps]
    rows, _ = measure(tiny(), cells, repeats=1)
    assert [row["max_steps"] for row in rows] == [n + 1 for n in steps]


def test_rows_that_are_ten_times_wrong_are_not_drawn(measured):
    _, row = measured[0]
    wrong = row | {"solver": "Euler", "params_gradient_error": 1e100}
    assert [
        line.get_label()
        for line in solvers.figures([row, wrong])["gradient_work_precision"].axes[0].lines
    ] == ["RK4"]
    assert set(solvers.figures([wrong])) == {"work_precision"}


def test_what_was_measured_before_an_interruption_is_kept(tmp_path, monkeypatch):
    def interrupted(problem, *args, **options):
        if problem.name == "circle":
            raise KeyboardInterrupt
        return [made_up(1.0, 1e-3, 10, problem=problem.name)], Reference(None, {}, {})

    monkeypatch.setitem(MAKERS, "tiny", tiny)
    monkeypatch.setattr(ode_grid, "measure", interrupted)
    config = solvers.Config(problems=("tiny", "circle"), threads=1, out=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        solvers.main(config)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert [row["problem"] for row in kept["rows"]] == ["tiny"]


def test_a_tiny_run_of_solvers_with_a_failure(tmp_path, monkeypatch, exact):
    monkeypatch.setitem(MAKERS, "tiny", tiny)
    monkeypatch.setattr(solvers, "EXPLICIT", (ode.Tsit5(),))
    config = solvers.Config(
        problems=("tiny",),
        dtypes=("float32",),
        tolerances=(1e-3, 1e-6, 1e-8),
        multiples=(),
        implicit_size=0,
        max_steps=3,
        repeats=1,
        threads=1,
        out=str(tmp_path),
    )
    results = solvers.main(config)
    assert [row["status"] for row in results["rows"]] == [OK, FAILED]
    assert results["rows"][0]["dtype"] == "float32"
    assert results["rows"][0]["solution_error"] < 1e-2
    assert "max_steps=3" in results["rows"][1]["reason"]
    assert_files_agree(tmp_path, results)
    assert (tmp_path / "work_precision.png").exists()
