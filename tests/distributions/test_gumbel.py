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
    every_size,
)
from scipy import stats

from jaxvae.distributions import Exponential, Gumbel

SETTINGS = [
    (0.0, 0.0),
    (3.0, -9.0),
    (-1e3, 20.0),
    (1e5, 9.0),
    (0.1, -20.0),
    (-2.0, -1.0),
    (5.0, 0.7),
    (-0.3, 3.0),
    (1e-4, -3.0),
    (40.0, 9.0),
]


def values(loc, log_scale):
    return [loc + z * np.exp(log_scale) for z in (-4.5, -1.0, 0.1, 1.0, 9.0, 90.0, 1e5)]


def log_density(x, loc, log_scale):
    z = (x - loc) / mpmath.exp(log_scale)
    return -log_scale - z - mpmath.exp(-z)


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    check_log_prob(Gumbel, SETTINGS, values, log_density)


def test_gradients_of_log_prob_are_exact():
    check_log_prob_gradient(Gumbel, SETTINGS, values, log_density, lambda _, b: np.exp(b))


def test_moments_and_entropy_are_their_closed_forms():
    e, euler = mpmath.exp, mpmath.euler
    check_closed_form("mean", Gumbel, SETTINGS, lambda m, b: m + euler * e(b))
    check_closed_form("variance", Gumbel, SETTINGS, lambda _, b: mpmath.pi**2 / 6 * e(2 * b))
    check_closed_form("entropy", Gumbel, SETTINGS, lambda _, b: b + euler + 1)


def test_cdf_is_that_of_scipy_in_both_tails():
    z = jnp.float32([-4.0, -1.0, 0.0, 2.0, 30.0])
    got = jax.vmap(Gumbel(jnp.float32(0.0), jnp.float32(0.0)).cdf)(z)
    np.testing.assert_allclose(got, stats.gumbel_r.cdf(np.float64(z)), rtol=1e-5)


def test_it_is_minus_the_logarithm_of_an_exponential_variable():
    x = jnp.linspace(-2.0, 6.0, 40)
    gumbel = jax.vmap(Gumbel(jnp.float32(0.4), jnp.float32(0.0)).log_prob)(x)
    exponential = jax.vmap(Exponential(jnp.float32(0.4)).log_prob)(jnp.exp(-x))
    np.testing.assert_allclose(gumbel, exponential - x, rtol=1e-5, atol=1e-5)


def test_the_transformation_keeps_its_digits_at_both_ends():
    u = jnp.float32([2.0**-24, 1e-3, 0.3, 0.5, 0.999, 1 - 2.0**-24])
    with mpmath.workdps(30):
        exact = [float(-mpmath.log(-mpmath.log(mpmath.mpf(float(v))))) for v in u]
    got = Gumbel(jnp.zeros(6), jnp.zeros(6)).transform(u)
    np.testing.assert_allclose(got, exact, rtol=1e-6)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, loc, log_scale):
        return stats.gumbel_r.cdf(x, loc, np.exp(log_scale))

    settings = [(m, b) for m, b in SETTINGS if m == 0 or b - np.log(abs(m)) > -8] + [(0.0, -20.0)]
    check_kolmogorov_smirnov(Gumbel, settings, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(loc, log_scale):
        mean = loc + np.euler_gamma * jnp.exp(log_scale)
        return mean**2 + jnp.pi**2 / 6 * jnp.exp(2 * log_scale)

    settings = [(0.0, 0.0), (3.0, -1.0), (-2.0, 1.0), (0.5, -3.0)]
    check_pathwise_gradient(Gumbel, settings, expectation, lambda x: x * x, number=number)
