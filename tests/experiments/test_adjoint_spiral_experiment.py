import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import assert_contract, log_of
from scipy.linalg import expm

from experiments import adjoint_spiral
from experiments.adjoint_spiral import Config, Running, Training
from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = ("backsolve", "forward_mode")
PROBLEM = adjoint_spiral.Problem(points=20, span=2.0, hidden=3, max_steps=32)


def configure(out, **running):
    return Config(
        problem=PROBLEM,
        training=Training(adjoints=NAMES, steps=6, fragment=4, batch_size=5),
        running=Running(out=str(out), **running),
    )


def fixed_steps(problem, name):
    """One step of RK4 between two points, which errs by a millionth and is soon compiled."""
    step, adjoint = problem.span / (problem.points - 1), adjoint_spiral.ADJOINTS[name]
    return ode.fixed_steps(1.001 * step, adjoint=adjoint, max_steps=problem.max_steps)


@pytest.fixture(
    scope="module",
    params=["fixed", pytest.param("adaptive", marks=pytest.mark.exhaustive)],
)
def run(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("spiral") / "run"
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "fixed":
            patch.setattr(adjoint_spiral, "integrator", fixed_steps)
        return out, adjoint_spiral.main(configure(out))


def test_the_experiment_keeps_its_contract(run):
    out, report = run
    table = {f"{measure}_{name}" for measure in adjoint_spiral.MEASURES for name in NAMES}
    assert_contract(out, report, keys=table, pictures={"adjoints"})
    for name in NAMES:
        own = json.loads((out / name / "metrics.json").read_text())
        assert (own["adjoint"], own["steps"]) == (name, 6)
        assert {path.stem for path in (out / name).glob("*.png")} == {"trajectory"}
        assert report[f"trajectory_mse_{name}"] == own["trajectory_mse"] > 0
        assert report[f"gradient_error_{name}"] < 1e-3
        np.testing.assert_allclose(report[f"step_ms_{name}"], 1000 / own["steps_per_second"])


def test_adjoints_that_agree_learn_the_same(run):
    """Backwards or forwards: one gradient, hence after six steps of Adam one error."""
    out, report = run
    losses = []
    for name in NAMES:
        losses.append(log_of(out / name)[-1]["squared_error"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    found = [report[f"trajectory_mse_{name}"] for name in NAMES]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2)


def test_resuming_trains_nothing_that_is_finished(run, capsys):
    out, report = run
    assert adjoint_spiral.main(configure(out, resume=True)) == report
    assert "forward_mode:" not in capsys.readouterr().out
    wider = dataclasses.replace(PROBLEM, hidden=4)
    changed = dataclasses.replace(configure(out, resume=True), problem=wider)
    with pytest.raises(ValueError, match="hidden was 3 and is 4"):
        adjoint_spiral.main(changed)


def test_forward_gradients_are_handed_over_unchanged():
    def function(params):
        return jnp.sum(jnp.sin(params["a"])) * params["b"], params["b"]

    params = {"a": jnp.arange(3.0), "b": jnp.array(1.5)}
    for one in (jax.grad, jax.value_and_grad):
        found = one(lambda p: adjoint_spiral.forwards(function, p)[0])(params)
        expected = one(lambda p: function(p)[0])(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_whole_trajectories_are_those_of_the_field():
    """Where tanh is linear, the perceptron is a matrix, and the solution its exponential."""
    matrix, small = np.array([[-0.1, 1.0], [-0.2, -0.1]]), 1e-2
    params = adjoint_spiral.network(PROBLEM).init(jax.random.key(0))
    first, last = np.zeros((2, 3)), np.zeros((3, 2))
    first[:, :2], last[:2] = small * np.eye(2), matrix.T / small
    wanted = {(2, 3): first, (3, 2): last}
    params = jax.tree.map(
        lambda leaf: jnp.asarray(wanted.get(leaf.shape, np.zeros(leaf.shape)), leaf.dtype)[None],
        params,
    )
    start = jnp.array([1.0, 0.0])
    found = adjoint_spiral.whole_trajectories(PROBLEM, params, start)
    times = np.asarray(adjoint_spiral.trajectory_times(PROBLEM), float)
    expected = np.stack([expm(matrix * t) @ [1.0, 0.0] for t in times])
    # tanh(u)/u is 1 - u^2/3, with u at most a hundredth.
    np.testing.assert_allclose(found, expected[None], atol=1e-4)


def test_every_adjoint_has_an_integrator_of_its_own():
    for name, adjoint in adjoint_spiral.ADJOINTS.items():
        found = adjoint_spiral.integrator(PROBLEM, name)
        assert found.adjoint == adjoint
        assert isinstance(found.controller, ode.ConstantStepSize) == (name == "reversible")
