import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from oracles import (
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_log_prob_gradient,
    check_pathwise_gradient,
    draws,
    every_size,
)
from scipy import stats

from jaxvae.distributions import Gumbel, Logistic

SETTINGS = [
    (0.0, 0.0),
    (3.0, -20.0),
    (-1e3, 20.0),
    (1e5, 9.0),
    (0.1, -9.0),
    (-2.0, -1.0),
    (5.0, 0.7),
    (-0.3, 3.0),
    (1e-4, -3.0),
    (40.0, 5.0),
]
# Single precision holds a location of 3 with steps of 2e-7: nothing narrower is sampled there.
SAMPLED = [(m if b > -20 else 0.0, b) for m, b in SETTINGS]


def values(loc, log_scale):
    return [loc + z * np.exp(log_scale) for z in (0.0, 1e-3, -0.5, 1.0, -9.0, 90.0, -1e5)]


def log_density(x, loc, log_scale):
    z = (x - loc) / mpmath.exp(log_scale)
    return -log_scale - abs(z) - 2 * mpmath.log1p(mpmath.exp(-abs(z)))


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    check_log_prob(Logistic, SETTINGS, values, log_density)


def test_gradients_of_log_prob_are_exact():
    check_log_prob_gradient(Logistic, SETTINGS, values, log_density, lambda _, b: np.exp(b))


def test_moments_and_entropy_are_their_closed_forms():
    check_closed_form("mean", Logistic, SETTINGS, lambda m, _: m)
    check_closed_form(
        "variance", Logistic, SETTINGS, lambda _, b: mpmath.pi**2 / 3 * mpmath.exp(2 * b)
    )
    check_closed_form("entropy", Logistic, SETTINGS, lambda _, b: b + 2)


def test_cdf_is_that_of_scipy_in_both_tails():
    z = jnp.float32([-80.0, -1.0, 0.0, 2.0, 30.0])
    got = jax.vmap(Logistic(jnp.float32(0.0), jnp.float32(0.0)).cdf)(z)
    np.testing.assert_allclose(got, stats.logistic.cdf(np.float64(z)), rtol=1e-6)


def test_it_is_the_difference_of_two_gumbel_variables():
    first, second = draws(Gumbel, [(0.7, 0.0), (0.3, 0.0)], seed=1)
    assert stats.kstest(first - second, stats.logistic(0.4).cdf).pvalue > 1e-3
    assert stats.ks_2samp(first - second, draws(Logistic, [(0.4, 0.0)], seed=3)[0]).pvalue > 1e-3


def test_the_transformation_keeps_its_digits_and_reflects_exactly():
    standard = Logistic(jnp.zeros(6), jnp.zeros(6))
    u = jnp.float32([2.0**-24, 1e-3, 0.3, 0.5 - 2.0**-20, 0.75, 1 - 2.0**-24])
    with mpmath.workdps(30):
        exact = [float(mpmath.log(mpmath.mpf(float(v)) / (1 - mpmath.mpf(float(v))))) for v in u]
    np.testing.assert_allclose(standard.transform(u), exact, rtol=5e-7)
    drawn = standard.noise.sample(jax.random.key(0))
    reflected = standard.transform(standard.noise.reflect(drawn))
    np.testing.assert_array_equal(reflected, -standard.transform(drawn))


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, loc, log_scale):
        return stats.logistic.cdf(x, loc, np.exp(log_scale))

    check_kolmogorov_smirnov(Logistic, SAMPLED, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(loc, log_scale):
        return loc**2 + jnp.pi**2 / 3 * jnp.exp(2 * log_scale)

    settings = [(0.0, 0.0), (3.0, -1.0), (-2.0, 1.0), (0.5, -3.0)]
    check_pathwise_gradient(Logistic, settings, expectation, lambda x: x * x, number=number)
