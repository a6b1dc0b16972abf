import math
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reversible_runs import (
    HEUN,
    SWING,
    TSIT5,
    linear,
    network,
    network_params,
    solve_and_pull,
    swing,
    worst,
)

from jaxvae.ode import RK4, reversible_solve
from jaxvae.ode.reversible_steps import increment


def test_falling_times_mirror_rising_ones():
    params, ts = jnp.asarray(SWING, float), jnp.array([0.3, 0.7, 1.2])

    def mirrored(t, z, params):
        return -swing(-t, z, params)

    solve = partial(reversible_solve, tableau=HEUN, dt0=0.05, max_steps=100)
    down = jax.jit(partial(solve, swing))(params, jnp.ones(3), -ts)
    up = jax.jit(partial(solve, mirrored))(params, jnp.ones(3), ts)
    assert down.steps == up.steps == 18
    np.testing.assert_array_equal(down.values, up.values)


pull = jax.jit(partial(solve_and_pull, swing))


@pytest.fixture
def in_float64():
    """One type for the tests of ``pull``, so that each shape is compiled once."""
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("in_float64")
def test_padding_changes_no_bit():
    ts = np.array([0.1, 0.4, 1.0])
    padded = np.concatenate([ts, np.repeat(ts[-1:], 4)])
    solution, gradient = pull(SWING, np.ones(3), ts)
    longer, with_padding = pull(SWING, np.ones(3), padded)
    np.testing.assert_array_equal(longer.values[:3], solution.values)
    np.testing.assert_array_equal(longer.values[3:], np.tile(solution.values[-1], (4, 1)))
    assert longer.steps == solution.steps == 9
    for a, b in zip(jax.tree.leaves(gradient[:2]), jax.tree.leaves(with_padding[:2]), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(with_padding[2], np.pad(gradient[2], (0, 4)))


@pytest.mark.usefixtures("in_float64")
def test_elements_of_a_batch_do_not_see_each_other():
    times = np.array([[0.0, 0.4, 1.0], [0.0, -2.0, -2.1], [0.5, 0.5, 0.5], [0.0, 9.0, 9.1]])
    starts = np.random.default_rng(3).normal(size=(4, 3))
    together = jax.jit(jax.vmap(partial(solve_and_pull, swing), (None, 0, 0)))(SWING, starts, times)
    for i in range(4):
        alone = jax.tree.leaves(pull(SWING, starts[i], times[i]))
        for a, b in zip(alone, jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(b[i], a, rtol=1e-11, atol=1e-14)
    assert together[0].steps.tolist() == [10, 21, 0, 0]
    assert together[0].needed.tolist() == [10, 21, 0, 91]


@pytest.mark.usefixtures("in_float64")
def test_times_beyond_max_steps_are_not_reached():
    ts = np.array([0.0, 0.3, 1.0, 6.0, 7.0, 8.0, np.nan])
    solution, gradient = pull(SWING, np.ones(3), ts)
    shorter, expected = pull(SWING, np.ones(3), ts[:3])
    assert solution.reached.tolist() == [True] * 3 + [False] * 4
    assert (solution.steps, solution.needed) == (10, 2**29)
    assert np.isnan(solution.values[3:]).all()
    assert np.isnan(solution.gap[3:]).all()
    np.testing.assert_array_equal(solution.values[:3], shorter.values)
    assert shorter.needed == 10
    assert worst((*gradient[:2], gradient[2][:3]), expected) < 1e-12
    assert not gradient[2][3:].any()


def test_a_step_is_not_longer_than_dt0_but_for_rounding():
    @jax.jit
    def steps(ts):
        settings = {"tableau": HEUN, "dt0": 0.1, "max_steps": 50}
        return reversible_solve(linear, jnp.eye(1), jnp.ones(1), ts, **settings).steps

    ts = jnp.arange(8.0) * jnp.float32(0.1)
    assert (steps(ts), steps(1.001 * ts)) == (7, 14)


class Rotation:
    def field(self, t, state, params, gain=1.0):
        matrix, count, nothing, act = params
        assert nothing is None
        turned = gain * matrix @ jnp.concatenate([state["q"], state["p"]])
        turned = turned * count.astype(turned.dtype)
        return {"q": act(turned[:1]), "p": turned[1:]}


def test_structures_in_and_out():
    params = (jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.array(2), None, lambda x: x)
    state, ts = {"q": jnp.array([1.0]), "p": jnp.array([0.5])}, jnp.linspace(0.0, 1.0, 4)

    def loss(matrix, state, field):
        solution = reversible_solve(
            field, (matrix, *params[1:]), state, ts, tableau=RK4.tableau, dt0=0.05, max_steps=50
        )
        return jnp.sum(solution.values["q"][-1]), solution.values

    def total(_, matrix):
        run = jax.value_and_grad(loss, (0, 1), has_aux=True)
        (_, values), gradient = run(matrix, state, partial(Rotation().field, gain=0.5))
        return None, (values, gradient)

    # Twice, in a scan: q'' = -q, so q(1) = cos(1) q + sin(1) p.
    _, (values, (by_matrix, by_state)) = jax.lax.scan(total, None, jnp.stack([params[0]] * 2))
    assert values["p"].shape == (2, 4, 1)
    c, s = math.cos(1.0), math.sin(1.0)
    np.testing.assert_allclose(values["q"][1, -1], c + 0.5 * s, rtol=1e-6)
    np.testing.assert_allclose(by_state["q"][0], [c], rtol=1e-6)
    np.testing.assert_allclose(by_state["p"][1], [s], rtol=1e-6)
    # d/dA of first row of exp(A) z: the integral of exp(A (1 - u))[0, i] (exp(A u) z)[j].
    u = (np.arange(2000) + 0.5) / 2000
    path = np.stack([np.cos(u) + 0.5 * np.sin(u), 0.5 * np.cos(u) - np.sin(u)])
    kernel = np.stack([np.cos(1.0 - u), np.sin(1.0 - u)])
    np.testing.assert_allclose(by_matrix[0], kernel @ path.T / 2000, rtol=2e-6)


def test_whole_batches_as_one_state():
    ts, z0s = jnp.linspace(0.0, 1.0, 3), jnp.asarray(np.eye(3), jnp.float32)
    batched = jax.vmap(network, in_axes=(None, 0, None))
    run = partial(reversible_solve, tableau=HEUN, dt0=0.1, max_steps=10)

    @jax.jit
    def both(params):
        alone = jax.vmap(lambda z0: run(network, params, z0, ts).values, out_axes=1)(z0s)
        return run(batched, params, z0s, ts).values, alone

    together, alone = both(network_params(3))
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-7)


def test_stages_that_feed_nothing_are_left_out():
    times = []

    def slope(t, z, learnt, fixed):
        times.append(float(t))
        return -z

    one = increment(TSIT5, slope, jnp.array(0.0), jnp.ones(1), jnp.array(0.1), None, None)
    assert len(times) == 6
    np.testing.assert_allclose(one, [math.expm1(-0.1)], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt0": 0.0}, r"dt0 expected a positive step, got 0\.0"),
        ({"dt0": math.inf}, "dt0 expected a positive step, got inf"),
        ({"max_steps": 0}, "max_steps expected a positive integer, got 0"),
        ({"coupling": 1.0}, "coupling expected a number between"),
        ({"tableau": diffrax.Kvaerno3.tableau}, "tableau of an explicit method"),
        ({"ts": np.arange(3)}, r"floating-point times, got int64 of shape \(3,\)"),
        ({"ts": np.zeros(1)}, r"two or more floating-point times, got float64 of shape \(1,\)"),
        ({"z0": np.arange(2)}, "state of one floating-point type, got int32"),
        ({"z0": {}}, "state of one floating-point type, got no array"),
        ({"field": lambda t, z, params: z[0]}, "values like the state"),
    ],
)
def test_misuse_is_named(change, message, without_type_checks):
    given = {"field": linear, "params": np.eye(2), "z0": np.ones(2), "ts": np.ones(3)} | change
    arguments = [given.pop(name) for name in ("field", "params", "z0", "ts")]
    with pytest.raises(ValueError, match=message):
        reversible_solve(*arguments, **{"tableau": HEUN, "dt0": 0.1, "max_steps": 10} | given)
