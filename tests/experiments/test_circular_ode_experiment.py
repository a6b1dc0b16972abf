import contextlib
import io
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import assert_contract, log_of
from scipy.linalg import expm

from experiments import circular_ode
from experiments.circular_ode import Config, Problem, Running, Training
from experiments.shared.runs import data_keys, seed_keys
from jaxvae import data

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEP = 0.1


def configure(out, **running):
    return Config(
        problem=Problem(stops=640, test_stops=50, step=STEP),
        training=Training(epochs=8, batch_size=16),
        running=Running(out=str(out), **running),
    )


def by_numpy(matrix, shift, stop):
    """RK4 written down once more: whole steps, then what is left."""
    z, at = np.array([1.0, 0.0]), 0.0
    grid = np.float32(STEP) * np.arange(64, dtype=np.float32)
    for end in [*grid[1:][grid[1:] <= stop], stop]:
        h = float(end) - at
        k1 = matrix @ z + shift
        k2 = matrix @ (z + h / 2 * k1) + shift
        k3 = matrix @ (z + h / 2 * k2) + shift
        k4 = matrix @ (z + h * k3) + shift
        z, at = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), float(end)
    return z


def test_a_stop_is_reached_by_whole_steps_and_a_shorter_last_one():
    """With steps of 0.1 the method errs by 5e-6 on the circle, ten times the tolerance here."""
    matrix, shift = np.array([[0.1, -1.2], [0.9, -0.2]]), np.array([0.3, -0.1])
    params = {"A": jnp.asarray(matrix, jnp.float32), "b": jnp.asarray(shift, jnp.float32)}
    # Between steps, on one, at the start, before the first step's end, and at the last time.
    stops = np.array([2.345, 0.5, 0.0, 0.04, 2 * math.pi], np.float32)
    stops[1] = np.float32(STEP) * np.float32(5)

    def reach(params):
        states = jax.vmap(partial(circular_ode.state_at, STEP), (None, 0))(params, stops)
        return states, states

    slopes, found = jax.jit(jax.jacrev(reach, has_aux=True))(params)
    expected = [by_numpy(matrix, shift, stop) for stop in stops]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    for row, stop in enumerate(stops):
        changed = [by_numpy(matrix, shift + d, stop) for d in ([1e-5, 0], [-1e-5, 0])]
        slope = (changed[0] - changed[1]) / 2e-5
        np.testing.assert_allclose(slopes["b"][row, :, 0], slope, rtol=1e-4, atol=1e-5)
    # The whole method is exact to its order: the affine flow by the matrix exponential.
    whole = expm(2.345 * np.block([[matrix, shift[:, None]], [np.zeros((1, 3))]]))
    np.testing.assert_allclose(found[0], (whole @ [1, 0, 1])[:2], atol=2e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("circular") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        report = circular_ode.main(configure(out, seeds=2))
    return out, report, printed.getvalue()


def test_the_experiment_keeps_its_contract(run):
    out, report, printed = run
    keys = {"seeds", "field_max_error_sd", "test_mse_sd"}
    assert_contract(out, report, keys=keys, pictures={"figure_16"})
    assert report["steps"] == 320
    assert len(log_of(out)) == 32
    assert "seed 1: A = [[" in printed


def test_the_field_is_learnt_and_turns_the_right_way(run):
    """RK4 with steps of 0.1 itself turns too slowly, by h^4/120 or 8e-7 of the speed."""
    report = run[1]
    learnt = [report[name] for name in circular_ode.ENTRIES]
    np.testing.assert_allclose(learnt, [0, -1, 1, 0, 0, 0], atol=2e-3)
    assert report["field_max_error"] <= report["field_largest_error_of_all_seeds"] < 2e-3
    assert report["test_mse"] < 1e-4


def test_no_stop_time_of_the_test_was_learnt_from():
    running = Running(seed=4, seeds=2)
    fresh = data.circular(200, key=data_keys(running)[0]).times
    _, keys = jax.vmap(jax.random.split, out_axes=1)(seed_keys(running))
    learnt = jax.vmap(lambda key: data.circular(200, key=key).times)(keys)
    assert not np.isin(np.asarray(fresh), np.asarray(learnt)).all()
    assert np.isin(np.asarray(fresh), np.asarray(learnt)).mean() < 0.02
