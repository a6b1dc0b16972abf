from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.objectives import ElboSettings, schedules

LINEAR = schedules.linear(0.2, 1.3, 40)
CYCLICAL = schedules.cyclical(0.1, 0.9, period=10, ramp=0.4)


def values(schedule, steps):
    return jax.jit(jax.vmap(schedule))(jnp.asarray(steps))


def test_linear_is_the_line_between_its_ends_and_constant_after():
    steps = np.arange(100)
    expected = 0.2 + (1.3 - 0.2) * np.minimum(steps / 40, 1.0)
    np.testing.assert_allclose(values(LINEAR, steps), expected, rtol=2e-7)
    np.testing.assert_array_equal(values(LINEAR, [0, 40, 99]), np.float32([0.2, 1.3, 1.3]))


def test_linear_may_fall():
    np.testing.assert_array_equal(
        values(schedules.linear(1.0, 0.0, 4), range(6)), [1, 0.75, 0.5, 0.25, 0, 0]
    )


def fu(t, *, low, high, period, ramp):
    """Equations 6 and 7 of Fu et al., where t counts from 1, and f(tau) = tau/R."""
    tau = np.mod(t - 1, period) / period
    return low + (high - low) * (tau / ramp if tau <= ramp else 1.0)


@pytest.mark.parametrize("ramp", [0.4, 0.25, 1.0])
def test_cyclical_is_that_of_fu_et_al(ramp):
    shape = {"low": 0.1, "high": 0.9, "period": 10, "ramp": ramp}
    expected = [fu(step + 1, **shape) for step in range(35)]
    np.testing.assert_allclose(values(schedules.cyclical(**shape), range(35)), expected, rtol=3e-7)


def test_cyclical_starts_low_reaches_the_top_after_the_ramp_and_half_is_the_default():
    np.testing.assert_array_equal(values(CYCLICAL, [0, 10, 500]), np.float32([0.1] * 3))
    np.testing.assert_array_equal(values(CYCLICAL, [4, 9, 14]), np.float32([0.9] * 3))
    default = values(schedules.cyclical(0.0, 1.0, 8), range(8))
    np.testing.assert_array_equal(default, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


def test_steps_beyond_the_whole_numbers_of_float32_keep_their_phase():
    steps = 2**30 + np.arange(8)
    np.testing.assert_array_equal(
        values(schedules.cyclical(0.0, 1.0, 8), steps), [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    )
    assert values(schedules.linear(0.0, 1.0, 2**24), steps).tolist() == [1.0] * 8


@pytest.mark.parametrize("schedule", [LINEAR, CYCLICAL], ids=["linear", "cyclical"])
def test_a_step_may_be_an_integer_or_traced_and_the_weight_is_float32(schedule):
    for got in (schedule(7), jax.jit(schedule)(jnp.int32(7)), jax.jit(partial(schedule, 7))()):
        assert got.dtype == jnp.float32
        assert got.shape == ()
        np.testing.assert_array_equal(got, schedule(7))
    with jax.enable_x64(True):
        assert schedule(jnp.asarray(7)).dtype == jnp.float32
    assert ElboSettings(beta=schedule(7)).beta.dtype == jnp.float32


BAD = {
    "negative": (partial(schedules.linear, -0.1, 1.0, 5), r"weight start of at least 0, got -0\.1"),
    "infinite": (partial(schedules.linear, 0.0, float("inf"), 5), "weight end .* got inf"),
    "nan": (partial(schedules.cyclical, float("nan"), 1.0, 5), "weight low .* got nan"),
    "no steps": (partial(schedules.linear, 0.0, 1.0, 0), "num_steps expected a positive integer"),
    "no period": (partial(schedules.cyclical, 0.0, 1.0, 0), "period expected a positive integer"),
    "no ramp": (partial(schedules.cyclical, 0.0, 1.0, 5, ramp=0.0), r"ramp expected .* got 0\.0"),
    "long ramp": (partial(schedules.cyclical, 0.0, 1.0, 5, 1.5), r"ramp expected .* got 1\.5"),
}


@pytest.mark.parametrize(("factory", "message"), BAD.values(), ids=BAD)
def test_a_schedule_that_makes_no_sense_is_refused(factory, message):
    with pytest.raises(ValueError, match=message):
        factory()
