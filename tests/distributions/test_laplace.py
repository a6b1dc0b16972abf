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

from jaxvae.distributions import Exponential, Laplace

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
    return [loc + z * np.exp(log_scale) for z in (1e-3, -0.5, 1.0, -9.0, 90.0, -1e5)]


def log_density(x, loc, log_scale):
    return -abs(x - loc) / mpmath.exp(log_scale) - log_scale - mpmath.log(2)


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    check_log_prob(Laplace, SETTINGS, lambda m, b: [m, *values(m, b)], log_density)


def test_gradients_of_log_prob_are_exact():
    # A thousandth of e^-20 beside 3 is the corner itself.
    settings = [s for s in SETTINGS if s[1] > -20 and s[0] < 1e5]
    check_log_prob_gradient(Laplace, settings, values, log_density, lambda _, b: np.exp(b))


def test_moments_and_entropy_are_their_closed_forms():
    e = mpmath.exp
    check_closed_form("mean", Laplace, SETTINGS, lambda m, _: m)
    check_closed_form("variance", Laplace, SETTINGS, lambda _, b: 2 * e(2 * b))
    check_closed_form("entropy", Laplace, SETTINGS, lambda _, b: 1 + b + mpmath.log(2))


def test_cdf_is_that_of_scipy_in_both_tails_and_its_slope_the_density():
    z = jnp.float32([-80.0, -1.0, 0.0, 2.0, 30.0])
    standard = Laplace(jnp.float32(0.0), jnp.float32(0.0))
    np.testing.assert_allclose(
        jax.vmap(standard.cdf)(z), stats.laplace.cdf(np.float64(z)), rtol=1e-6
    )
    slope = jax.vmap(jax.grad(standard.cdf))(z)
    np.testing.assert_allclose(slope, jnp.exp(jax.vmap(standard.log_prob)(z)), rtol=1e-5)


def test_it_is_the_difference_of_two_exponential_variables():
    first, second = draws(Exponential, [(0.0,), (0.0,)], seed=1)
    assert stats.ks_2samp(first - second, draws(Laplace, [(0.0, 0.0)], seed=3)[0]).pvalue > 1e-3


def test_the_transformation_keeps_its_digits_and_reflects_exactly():
    standard = Laplace(jnp.zeros(6), jnp.zeros(6))
    u = jnp.float32([2.0**-24, 1e-3, 0.3, 0.5 - 2.0**-20, 0.75, 1 - 2.0**-24])
    exact = stats.laplace.ppf(np.float64(u))
    np.testing.assert_allclose(standard.transform(u), exact, rtol=5e-7)
    drawn = standard.noise.sample(jax.random.key(0))
    reflected = standard.transform(standard.noise.reflect(drawn))
    np.testing.assert_array_equal(reflected, -standard.transform(drawn))


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, loc, log_scale):
        return stats.laplace.cdf(x, loc, np.exp(log_scale))

    check_kolmogorov_smirnov(Laplace, SAMPLED, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(loc, log_scale):
        return loc**2 + 2 * jnp.exp(2 * log_scale)

    settings = [(0.0, 0.0), (3.0, -1.0), (-2.0, 1.0), (0.5, -3.0)]
    check_pathwise_gradient(Laplace, settings, expectation, lambda x: x * x, number=number)
