"""Solutions: closed forms, reversal in time, padding, batches, and all that must be refused."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_problems import SPIRAL, START, assert_close, explosive, flow, integrator, linear
from scipy.linalg import expm

from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

TIMES = [0.0, 0.4, 1.1, 3.0]
FIELD = np.array(SPIRAL, np.float32)
Z0 = np.array(START, np.float32)
WAYS = {
    "adaptive": ode.adaptive(),
    "fixed": ode.fixed_steps(0.01, max_steps=512),
    "reversible": ode.fixed_steps(0.01, adjoint=ode.Reversible(), max_steps=512),
}
EACH = pytest.mark.parametrize("way", WAYS)


@cache
def run(way):
    """The first four values, half of the sum of whose squares has the gradients, and all values."""

    def total(a, z, ts, t0):
        values = ode.solve(linear, a, z, ts, integrator=WAYS[way], t0=t0).values
        return 0.5 * jnp.sum(jnp.square(values[: len(TIMES)])), values

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))


def times(*more):
    return np.array([*TIMES, *more], np.float32)


def exact(z0, ts):
    return np.stack([expm(np.float64(FIELD) * t) @ z0 for t in np.float64(ts)])


@EACH
def test_a_linear_equation_is_solved_by_the_exponential(way):
    (_, values), _ = run(way)(FIELD, Z0, times(), 0.0)
    assert_close(values, exact(Z0, times()), 1e-4)


@EACH
def test_backwards_in_time_leads_back(way):
    (_, there), _ = run(way)(FIELD, Z0, times(), 0.0)
    (_, back), _ = run(way)(FIELD, there[-1], times()[::-1], TIMES[-1])
    assert_close(back[::-1], there, 3e-4)


@EACH
def test_padding_changes_neither_values_nor_gradients(way):
    (plain, values), gradients = run(way)(FIELD, Z0, times(), 0.0)
    # Without a start the first time is the start.
    (same, more), same_gradients = run(way)(FIELD, Z0, times(3.0, 3.0, 3.0), None)
    assert plain == same
    np.testing.assert_array_equal(more[: len(TIMES)], values)
    np.testing.assert_array_equal(more[len(TIMES) :], np.stack([values[-1]] * 3))
    assert_close(same_gradients, gradients, 1e-6)


@EACH
def test_a_start_before_the_first_time(way):
    later = times() + np.float32(0.5)
    (_, values), _ = run(way)(FIELD, Z0, later, 0.0)
    assert_close(values, exact(Z0, later), 1e-4)


@EACH
def test_a_batch_is_solved_as_its_series_are_in_any_order(way):
    starts = np.outer(np.array([1.0, -3.0, 100.0], np.float32), Z0)

    @jax.jit
    def together(starts):
        ts = jnp.asarray(times())
        return ode.solve_batch(linear, FIELD, starts, ts, integrator=WAYS[way]).values

    values = together(starts)
    for series, start in zip(values, starts, strict=True):
        assert_close(series, exact(start, times()), 1e-4)
    np.testing.assert_array_equal(together(starts[::-1])[::-1], values)


def test_series_under_a_named_vmap_are_solved_as_a_batch():
    ts = jnp.asarray(times())
    starts = np.outer(np.array([1.0, -3.0, 100.0], np.float32), Z0)

    def one(z):
        return ode.solve_together(linear, FIELD, z, ts, axis_name="series")

    together = jax.jit(jax.vmap(one, axis_name="series"))(starts)
    batch = jax.jit(lambda z: ode.solve_batch(linear, FIELD, z, ts))(starts)
    assert_close(together.values, batch.values, 1e-6)
    np.testing.assert_array_equal(together.stats.steps, np.full(3, batch.stats.steps))
    message = (
        r"a vmap with the axis 'series'.*jaxvae\.map_examples.*ode\.solve solves a series alone"
    )
    for alone in (one, jax.vmap(one, axis_name="others"), jax.vmap(one)):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(alone, starts)


def test_a_batch_has_the_tolerance_of_each_series():
    """One violent series among a thousand quiet ones would vanish in a mean over all."""
    quiet = ode.adaptive(1e-3, 1e-6)
    rates = jnp.ones(1000).at[0].set(20.0)
    ts = jnp.array([0.0, 1.0])

    def spin(t, state, _):
        z, rate = state
        return rate * jnp.array([-z[1], z[0]]), jnp.zeros_like(rate)

    starts = jnp.tile(jnp.array([1.0, 0.0]), (1000, 1))
    solution = jax.jit(lambda s: ode.solve_batch(spin, None, s, ts, integrator=quiet))(
        (starts, rates)
    )
    alone = jax.jit(lambda s: ode.solve(spin, None, s, ts, integrator=quiet))((starts[0], rates[0]))
    assert int(solution.stats.steps) >= int(alone.stats.steps)
    assert_close(solution.values[0][0, -1], np.array([np.cos(20.0), np.sin(20.0)]), 2e-2)


def test_states_and_parameters_may_be_trees():
    def field(t, z, params):
        return {"x": params["rate"] * z["x"], "count": jnp.ones_like(z["count"])}

    params = {"rate": jnp.array(-1.0), "name": None, "size": jnp.array(3)}
    z0 = {"x": jnp.ones((2, 1)), "count": jnp.array(0.0)}
    ts = jnp.array([0.0, 2.0])

    def last(rate):
        values = ode.solve(field, params | {"rate": rate}, z0, ts, throw=False).values
        return jnp.sum(values["x"][-1]), values

    (total, values), slope = jax.jit(jax.value_and_grad(last, has_aux=True))(params["rate"])
    assert total == pytest.approx(2 * np.exp(-2.0), rel=1e-4)
    assert slope == pytest.approx(4 * np.exp(-2.0), rel=1e-3)
    assert values["count"][-1] == pytest.approx(2.0, rel=1e-5)


FIELDS = (
    linear,
    lambda t, z, a: explosive(t, z, 1.0) + 0 * a[0],
    lambda t, z, a: jnp.log(jnp.where(t > 1, -z, z)) @ a,
)
TURN = np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32)
STEPS = {
    "adaptive": ode.adaptive(max_steps=50),
    "fixed": ode.fixed_steps(0.05, max_steps=100),
    "reversible": ode.fixed_steps(0.05, adjoint=ode.Reversible(), max_steps=100),
}
# A way to solve; a field, its matrix and the last time; what is said.
FAILING = {
    "too many steps": ("adaptive", 0, TURN, 300.0, "Tsit5 took max_steps=50"),
    "an explosion in fixed steps": ("fixed", 1, TURN, 3.0, "NaN or infinity"),
    "an explosion in adaptive steps": ("adaptive", 1, TURN, 3.0, "max_steps=50"),
    "a field of NaN": ("adaptive", 2, FIELD, 3.0, "rejected most of max_steps=50"),
    "reversible, too many steps": ("reversible", 0, TURN, 300.0, "max_steps=100"),
    "reversible, an explosion": ("reversible", 1, TURN, 3.0, "NaN or infinity"),
}
FAILURES = pytest.mark.parametrize("case", FAILING)
# Fixed steps are masked as adaptive ones are, in one more program.
MASKED = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.exhaustive if way == "fixed" else ())
        for case, (way, *_) in FAILING.items()
    ],
)


def one_of_fields(t, z, params):
    number, a = params
    return jax.lax.switch(number, FIELDS, t, z, a)


@cache
def thrown(way):
    def values(number, a, z, ts):
        return ode.solve(one_of_fields, (number, a), z, ts, integrator=STEPS[way]).values

    return jax.jit(values)


@cache
def masked(way):
    """Solutions of two series, and the gradient of the sum of what was reached."""

    def total(a, number, z, series):
        def one(ts):
            how = {"integrator": STEPS[way], "throw": False}
            return ode.solve(one_of_fields, (number, a), z, ts, **how)

        solution = jax.vmap(one)(series)
        return jnp.sum(jnp.where(solution.reached[..., None], solution.values, 0)), solution

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def ending_at(last):
    """Times for ``thrown`` and ``masked``."""
    return np.array([0.0, 0.1, 0.3, last], np.float32)


@FAILURES
def test_a_failed_solve_raises_and_says_what_to_do(case):
    way, number, a, last, message = FAILING[case]
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(thrown(way)(number, a, Z0, ending_at(last)))


@MASKED
def test_a_failed_solve_can_be_masked_without_harm_to_any_gradient(case):
    """Beside a series that is fine, the failed one adds nothing."""
    way, number, a, last, _ = FAILING[case]
    fine = ending_at(0.4)
    (_, solution), gradient = masked(way)(a, number, Z0, np.stack([ending_at(last), fine]))
    np.testing.assert_array_equal(solution.reached[1], True)
    assert not solution.reached[0, -1]
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(solution.values[0][~solution.reached[0]], 0)
    if not solution.reached[0, 1]:
        (_, _), twice = masked(way)(a, number, Z0, np.stack([fine, fine]))
        assert_close(gradient, 0.5 * twice, 1e-6)


@pytest.mark.parametrize("way", ["adaptive", "reversible"])
def test_rows_before_a_truncation_can_be_used(way):
    series = np.stack([ending_at(300.0)] * 2)
    (_, solution), gradient = masked(way)(TURN, 0, Z0, series)
    np.testing.assert_array_equal(solution.reached, [[True, True, True, False]] * 2)

    def total(a):
        return 2 * sum(jnp.sum(flow(a, Z0, t)) for t in (0.1, 0.3))

    assert_close(gradient, jax.jit(jax.grad(total))(TURN), 1e-3)


BAD_TIMES = {
    "unsorted": ([0.0, 0.5, 1.0, 0.7], "increase or decrease strictly"),
    "duplicate": ([0.0, 1.0, 1.0, 2.0], "increase or decrease strictly"),
    "duplicate at the start": ([0.0, 0.0, 1.0, 1.0], "increase or decrease strictly"),
    "NaN": ([0.0, 0.5, float("nan"), 1.0], "finite times"),
    "infinite": ([0.0, 0.5, 1.0, float("inf")], "finite times"),
}


@pytest.mark.parametrize(("ts", "message"), BAD_TIMES.values(), ids=BAD_TIMES.keys())
def test_times_out_of_order_are_refused_or_masked(ts, message):
    ts = np.array(ts, np.float32)
    with pytest.raises(ValueError, match=message):
        ode.solve(linear, FIELD, Z0, jnp.array(ts))
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(thrown("adaptive")(0, FIELD, Z0, ts))
    (total, _), gradient = masked("adaptive")(FIELD, 0, Z0, np.stack([ts, ts]))
    assert total == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_start_that_is_not_finite_is_refused_or_masked():
    wrong = np.array([np.nan, 1.0], np.float32)
    with pytest.raises(Exception, match="finite initial state"):
        jax.block_until_ready(thrown("adaptive")(0, FIELD, wrong, times()))
    (_, solution), _ = masked("adaptive")(FIELD, 0, wrong, np.stack([times(), times()]))
    assert not np.any(solution.reached)


@pytest.mark.parametrize(
    ("z0", "ts", "message"),
    [
        (jnp.array([1, 2]), jnp.array(TIMES), "real numbers, got int32"),
        (None, jnp.array(TIMES), "got no array"),
        (Z0, jnp.zeros((0,)), r"one or more times, got shape \(0,\)"),
        (Z0, jnp.zeros((1, 4)), r"one or more times, got shape \(1, 4\)"),
        (Z0, jnp.arange(3), "floating-point times, got int32"),
    ],
)
def test_states_and_times_of_a_wrong_kind_are_refused(z0, ts, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        ode.solve(linear, FIELD, z0, ts)


def test_times_on_the_other_side_of_the_start_are_named_beside_it():
    message = r"other side of t0; got t0 = 0 and \[-2. -1.\]"
    with pytest.raises(ValueError, match=message):
        ode.solve(linear, FIELD, Z0, jnp.array([-2.0, -1.0]), t0=0.0)


def test_what_is_no_field_or_integrator_is_refused(without_type_checks):
    ts = jnp.array(TIMES)
    with pytest.raises(ValueError, match=r"the shapes of z, \(2,\), got \(3,\)"):
        ode.solve(lambda t, z, a: jnp.ones(3), FIELD, Z0, ts)
    with pytest.raises(ValueError, match="expected an Integrator, got 'rk4'"):
        ode.solve(linear, FIELD, Z0, ts, integrator="rk4")


def test_params_may_hold_what_is_no_array():
    params = (FIELD, jnp.matmul)
    ts = jnp.asarray(times())
    values = ode.solve(lambda t, z, p: p[1](p[0], z), params, Z0, ts).values
    assert_close(values, exact(Z0, times()), 1e-4)


def test_a_tolerance_below_rounding_is_refused():
    with pytest.raises(ValueError, match="compute in float64"):
        ode.solve(linear, FIELD, Z0, jnp.array(TIMES), integrator=ode.adaptive(1e-9, 1e-9))
    with jax.enable_x64(True):
        ts, how = jnp.array(TIMES), integrator(ode.Checkpointed())
        values = ode.solve(linear, np.array(SPIRAL), np.array(START), ts, integrator=how).values
        assert_close(values[-1], expm(np.array(SPIRAL) * TIMES[-1]) @ START, 1e-8)
