"""Solutions: closed forms, reversal in time, padding, batches, and all that must be refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_problems import SPIRAL, START, assert_close, explosive, flow, integrator, linear

from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

TIMES = [0.0, 0.4, 1.1, 3.0]
FIELD = jnp.array(SPIRAL, jnp.float32)
Z0 = jnp.array(START, jnp.float32)
BOTH = pytest.mark.parametrize(
    "how",
    [ode.adaptive(), ode.fixed_steps(0.01), ode.fixed_steps(0.01, adjoint=ode.Reversible())],
    ids=["adaptive", "fixed", "reversible"],
)


@BOTH
def test_a_linear_equation_is_solved_by_the_exponential(how):
    ts = jnp.array(TIMES)
    values = jax.jit(lambda z: ode.solve(linear, FIELD, z, ts, integrator=how).values)(Z0)
    expected = jnp.stack([flow(FIELD, Z0, t) for t in ts])
    assert_close(values, expected, 1e-4)


@BOTH
def test_backwards_in_time_leads_back(how):
    ts = jnp.array(TIMES)

    @jax.jit
    def there_and_back(z):
        there = ode.solve(linear, FIELD, z, ts, integrator=how).values
        return there, ode.solve(linear, FIELD, there[-1], ts[::-1], integrator=how).values

    there, back = there_and_back(Z0)
    assert_close(back[::-1], there, 3e-4)


@BOTH
def test_padding_changes_neither_values_nor_gradients(how):
    ts, padded = jnp.array(TIMES), jnp.array([*TIMES, 3.0, 3.0, 3.0])

    def total(a, z, ts):
        values = ode.solve(linear, a, z, ts, integrator=how).values
        return jnp.sum(jnp.square(values[: len(TIMES)])), values

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (plain, values), gradients = run(FIELD, Z0, ts)
    (same, more), same_gradients = run(FIELD, Z0, padded)
    assert plain == same
    np.testing.assert_array_equal(more[: len(TIMES)], values)
    np.testing.assert_array_equal(more[len(TIMES) :], jnp.stack([values[-1]] * 3))
    assert_close(same_gradients, gradients, 1e-6)


@BOTH
def test_a_start_before_the_first_time(how):
    ts = jnp.array(TIMES)
    early = jax.jit(lambda z: ode.solve(linear, FIELD, z, ts + 0.5, integrator=how, t0=0.0).values)(
        Z0
    )
    expected = jnp.stack([flow(FIELD, Z0, t + 0.5) for t in ts])
    assert_close(early, expected, 1e-4)


@BOTH
def test_a_batch_is_solved_as_its_series_are_in_any_order(how):
    ts = jnp.array(TIMES)
    starts = jnp.outer(jnp.array([1.0, -3.0, 100.0]), Z0)

    @jax.jit
    def together(starts):
        return ode.solve_batch(linear, FIELD, starts, ts, integrator=how).values

    expected = jax.vmap(lambda z: jax.vmap(lambda t: flow(FIELD, z, t))(ts))(starts)
    values = together(starts)
    for series, exact in zip(values, expected, strict=True):
        assert_close(series, exact, 1e-4)
    np.testing.assert_array_equal(together(starts[::-1])[::-1], values)


def test_series_under_a_named_vmap_are_solved_as_a_batch():
    ts = jnp.array(TIMES)
    starts = jnp.outer(jnp.array([1.0, -3.0, 100.0]), Z0)

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


FAILING = {
    "too many steps": (ode.adaptive(max_steps=4), linear, "max_steps=4"),
    "an explosion in fixed steps": (ode.fixed_steps(0.05), explosive, "NaN or infinity"),
    "an explosion in adaptive steps": (ode.adaptive(max_steps=300), explosive, "max_steps=300"),
    "a field of NaN": (
        ode.adaptive(max_steps=50),
        lambda t, z, a: jnp.log(jnp.where(t > 1, -z, z)) @ a,
        "rejected most of max_steps=50",
    ),
    "reversible, too many steps": (
        ode.fixed_steps(0.05, adjoint=ode.Reversible(), max_steps=4),
        linear,
        "max_steps=4",
    ),
    "reversible, an explosion": (
        ode.fixed_steps(0.05, adjoint=ode.Reversible()),
        explosive,
        "NaN or infinity",
    ),
}
FAILURES = pytest.mark.parametrize(
    ("how", "field", "message"), FAILING.values(), ids=FAILING.keys()
)


def parameters(field):
    return jnp.array(1.0) if field is explosive else FIELD


@FAILURES
def test_a_failed_solve_raises_and_says_what_to_do(how, field, message):
    ts = jnp.array(TIMES)
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(
            jax.jit(lambda z: ode.solve(field, parameters(field), z, ts, integrator=how).values)(Z0)
        )


@FAILURES
def test_a_failed_solve_can_be_masked_without_harm_to_any_gradient(how, field, message):
    """Beside a series that is fine, the failed one adds nothing."""
    del message
    ts = jnp.array([0.0, 0.1, 3.0])
    series = jnp.stack([ts, ts / 60])
    a = parameters(field)

    def total(a, series):
        solution = jax.vmap(lambda ts: ode.solve(field, a, Z0, ts, integrator=how, throw=False))(
            series
        )
        return jnp.sum(jnp.where(solution.reached[..., None], solution.values, 0)), solution

    run = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, solution), gradient = run(a, series)
    np.testing.assert_array_equal(solution.reached[1], True)
    assert not solution.reached[0, -1]
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(solution.values[0][~solution.reached[0]], 0)
    if not solution.reached[0, 1]:
        (_, _), alone = run(a, series[1:])
        assert_close(gradient, alone, 1e-6)


def test_rows_before_a_truncation_can_be_used():
    ts = jnp.array([0.0, 0.3, 30.0])
    short = ode.adaptive(max_steps=8)

    def total(a):
        solution = ode.solve(linear, a, Z0, ts, integrator=short, throw=False)
        return jnp.sum(solution.values), solution

    (_, solution), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(FIELD)
    np.testing.assert_array_equal(solution.reached, [True, True, False])
    expected = jax.jit(jax.grad(lambda a: jnp.sum(flow(a, Z0, 0.3))))(FIELD)
    assert_close(gradient, expected, 1e-3)


BAD_TIMES = {
    "unsorted": ([0.0, 1.0, 0.5], "rise, or fall, strictly"),
    "duplicate": ([0.0, 1.0, 1.0, 2.0], "rise, or fall, strictly"),
    "duplicate at the start": ([0.0, 0.0, 1.0], "rise, or fall, strictly"),
    "NaN": ([0.0, float("nan"), 1.0], "finite times"),
    "infinite": ([0.0, float("inf")], "finite times"),
}


@pytest.mark.parametrize(("ts", "message"), BAD_TIMES.values(), ids=BAD_TIMES.keys())
def test_times_out_of_order_are_refused_or_masked(ts, message):
    with pytest.raises(ValueError, match=message):
        ode.solve(linear, FIELD, Z0, jnp.array(ts))
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(
            jax.jit(lambda ts: ode.solve(linear, FIELD, Z0, ts).values)(jnp.array(ts))
        )
    masked = jax.jit(
        lambda a, ts: jax.value_and_grad(
            lambda a: jnp.sum(ode.solve(linear, a, Z0, ts, throw=False).values)
        )(a)
    )
    total, gradient = masked(FIELD, jnp.array(ts))
    assert total == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_start_that_is_not_finite_is_refused_or_masked():
    ts, wrong = jnp.array(TIMES), jnp.array([jnp.nan, 1.0])
    with pytest.raises(Exception, match="finite initial state"):
        jax.block_until_ready(jax.jit(lambda z: ode.solve(linear, FIELD, z, ts).values)(wrong))
    solution = jax.jit(lambda z: ode.solve(linear, FIELD, z, ts, throw=False))(wrong)
    assert not np.any(solution.reached)


@pytest.mark.parametrize(
    ("z0", "ts", "message"),
    [
        (jnp.array([1, 2]), jnp.array(TIMES), "real numbers, got int32"),
        (None, jnp.array(TIMES), "got no array"),
        (Z0, jnp.zeros((0,)), r"one or more times, got shape \(0,\)"),
        (Z0, jnp.zeros((1, 4)), r"one or more times, got shape \(1, 4\)"),
        (Z0, jnp.arange(3), "floating point, got int32"),
    ],
)
def test_states_and_times_of_a_wrong_kind_are_refused(z0, ts, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        ode.solve(linear, FIELD, z0, ts)


def test_times_on_the_other_side_of_the_start_are_named_beside_it():
    message = r"other side of t0 .* got t0 = 0 and \[-2. -1.\]"
    with pytest.raises(ValueError, match=message):
        ode.solve(linear, FIELD, Z0, jnp.array([-2.0, -1.0]), t0=0.0)


def test_what_is_no_field_or_integrator_is_refused(without_type_checks):
    ts = jnp.array(TIMES)
    with pytest.raises(ValueError, match=r"what z is, \(2,\), got \(3,\)"):
        ode.solve(lambda t, z, a: jnp.ones(3), FIELD, Z0, ts)
    with pytest.raises(ValueError, match="expected an Integrator, got 'rk4'"):
        ode.solve(linear, FIELD, Z0, ts, integrator="rk4")


def test_params_may_hold_what_is_no_array():
    params = (FIELD, jnp.matmul)
    values = ode.solve(lambda t, z, p: p[1](p[0], z), params, Z0, jnp.array(TIMES)).values
    np.testing.assert_array_equal(values, ode.solve(linear, FIELD, Z0, jnp.array(TIMES)).values)


def test_a_tolerance_below_rounding_is_refused():
    with pytest.raises(ValueError, match="compute in float64"):
        ode.solve(linear, FIELD, Z0, jnp.array(TIMES), integrator=ode.adaptive(1e-9, 1e-9))
    with jax.enable_x64(True):
        a, z = jnp.array(SPIRAL), jnp.array(START)
        values = ode.solve(
            linear, a, z, jnp.array(TIMES), integrator=integrator(ode.Checkpointed())
        ).values
        assert_close(values[-1], flow(a, z, 3.0), 1e-8)
