import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import (
    TOLERANCES,
    assert_near,
    check_chi_squared,
    check_closed_form,
    check_log_prob,
    every_size,
)
from scipy import stats

from jaxvae.distributions import Poisson

RATES = (1e-8, 1e-4, 0.1, 0.7, 3.0, 20.0, 300.0, 1e4, 1e5, 1e6)
SETTINGS = [(float(np.log(rate)),) for rate in RATES]
EXTREMES = [(-50.0,), (-30.3,), (30.3,), (50.0,)]  # of a network's raw output
DEVIATIONS = (-30, -8, -4, -2, -1, -0.3, 0, 0.3, 1, 2, 4, 8, 30)


def counts(log_rate):
    rate = np.exp(log_rate)
    around = [np.floor(rate + t * np.sqrt(rate)) for t in DEVIATIONS]
    far = [0, 1, 2, 3, 10, 137, 1e4, 1e6, 1e7, rate // 2, 2 * rate // 1, rate // 30]
    return np.clip(around + far, 0.0, 1e7)


def log_mass(x, log_rate):
    if not mpmath.isfinite(x) or x < 0 or x != mpmath.floor(x):
        return -mpmath.inf
    return x * log_rate - mpmath.exp(log_rate) - mpmath.loggamma(x + 1)


def score_and_curvature(log_rate, x):
    score = jax.grad(lambda a: Poisson(a).log_prob(x))
    return score(log_rate), jax.grad(score)(log_rate)


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    check_log_prob(Poisson, SETTINGS + EXTREMES, counts, log_mass)
    check_log_prob(Poisson, SETTINGS, lambda _: [-1.0, 0.5, 2.5, -np.inf, np.inf], log_mass)


def test_gradient_and_curvature_are_exact():
    # Relative to the score's standard deviation too: a float32 logarithm of a million differs
    # from its neighbours by a whole count.
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            derivatives = jax.jit(jax.vmap(score_and_curvature, (None, 0)))
            for (log_rate,) in SETTINGS + EXTREMES:
                log_rate = jnp.asarray(log_rate, dtype)
                x = jnp.asarray(counts(float(log_rate)), dtype)
                rate = mpmath.exp(float(log_rate))
                score = np.array([float(float(count) - rate) for count in np.asarray(x)])
                scale = max(1.0, float(mpmath.sqrt(rate)))
                first, second = derivatives(log_rate, x)
                assert_near(first / scale, score / scale, tolerance, f"score at rate {rate}")
                assert_near(second, np.full(x.shape, -float(rate)), tolerance, "curvature")


def test_rates_beyond_the_range_are_its_end_and_are_led_back():
    scored = jax.jit(jax.value_and_grad(lambda a: Poisson(a).log_prob(jnp.array(7.0))))
    for log_rate, end in ((1e4, 60.0), (-1e4, -60.0)):
        value, slope = scored(log_rate)
        assert value == scored(end)[0]
        assert np.isfinite(slope)
        assert np.sign(slope) == -np.sign(log_rate)


def test_outside_the_support_no_gradient_flows():
    x = jnp.array([-1.0, 0.5, jnp.inf])
    slopes = jax.grad(lambda a: Poisson(a).log_prob(x))(jnp.array([0.3, -9.0, 9.0]))
    np.testing.assert_array_equal(slopes, jnp.zeros(3))


def test_masses_sum_to_one_and_whole_numbers_of_any_type_are_counts():
    for log_rate in (-5.0, 0.0, 2.0, 6.0):
        x = jnp.arange(2000)
        masses = jnp.exp(jax.vmap(Poisson(jnp.array(log_rate)).log_prob)(x))
        assert abs(float(jnp.sum(masses)) - 1.0) < 1e-5


def test_moments_and_mode_are_their_closed_forms():
    check_closed_form("mean", Poisson, SETTINGS, mpmath.exp)
    check_closed_form("variance", Poisson, SETTINGS, mpmath.exp)
    log_probs = jax.jit(jax.vmap(lambda d, x: d.log_prob(x), (None, 0)))
    x = jnp.arange(400.0)
    for rate in (0.3, 1.5, 17.2, 300.7):
        poisson = Poisson.from_rate(jnp.array(rate))
        assert int(poisson.mode) == int(jnp.argmax(log_probs(poisson, x)))


def test_entropy_has_no_closed_form():
    with pytest.raises(ValueError, match="Poisson has no closed-form entropy"):
        Poisson(jnp.zeros(2)).entropy()


@every_size
def test_samples_pass_chi_squared(number):
    check_chi_squared(
        Poisson, SETTINGS, lambda k, a: stats.poisson.pmf(k, np.exp(a)), number=number
    )


@pytest.mark.parametrize("generator", ["rbg", "threefry2x32"])
def test_every_generator_of_random_bits_serves(generator):
    for rate in (4.0, 4000.0):
        poisson = Poisson.from_rate(jnp.full(100_000, rate))
        sample = np.float64(jax.jit(Poisson.sample)(poisson, jax.random.key(2, impl=generator)))
        assert abs(sample.mean() - rate) < 4 * np.sqrt(rate / 1e5)
        assert abs(sample.var() / rate - 1) < 4 * np.sqrt((2 + 1 / rate) / 1e5)


def test_a_rate_that_is_nan_gives_nan_and_the_others_their_counts():
    sample = Poisson(jnp.array([jnp.nan, 0.0, 9.0])).sample(jax.random.key(0))
    np.testing.assert_array_equal(jnp.isnan(sample), [True, False, False])
    np.testing.assert_array_equal(sample[1:], jnp.floor(sample[1:]))
