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

from jaxvae.distributions import Exponential, Weibull

SETTINGS = [
    (0.0, 0.0),
    (-20.0, -1.0),
    (20.0, 1.0),
    (-9.0, 3.0),
    (9.0, 2.5),
    (0.3, -0.7),
    (2.0, 0.7),
    (-3.0, 0.1),
    (5.0, 1.5),
    (-0.1, 2.0),
]


def values(log_scale, log_concentration):
    k = np.exp(log_concentration)
    return [-1.0] + [np.exp(log_scale) * t ** (1 / k) for t in (1e-9, 0.01, 0.7, 1.0, 3, 20, 1e3)]


def log_density(x, b, a):
    if x < 0:
        return -mpmath.inf
    k, log_z = mpmath.exp(a), mpmath.log(x) - b
    return a - b + (k - 1) * log_z - mpmath.exp(k * log_z)


def test_log_prob_is_exact_from_zero_into_the_tail():
    check_log_prob(Weibull, SETTINGS, values, log_density)


def test_gradients_of_log_prob_are_exact_and_zero_outside():
    check_log_prob_gradient(Weibull, SETTINGS, values, log_density, lambda b, _: np.exp(b))


def test_at_zero_the_density_is_its_limit():
    log_concentration = jnp.float32([-0.5, 0.0, 0.5])
    log_prob = Weibull(jnp.full(3, 0.3), log_concentration).log_prob_by_factor(jnp.zeros(3))
    np.testing.assert_allclose(log_prob, [np.inf, -0.3, -np.inf], rtol=1e-6)


def test_moments_mode_and_entropy_are_their_closed_forms():
    gamma, exp = mpmath.gamma, mpmath.exp

    def variance(b, a):
        return exp(2 * b) * (gamma(1 + 2 * exp(-a)) - gamma(1 + exp(-a)) ** 2)

    def mode(b, a):
        return exp(b) * (1 - exp(-a)) ** exp(-a) if a > 0 else 0

    def entropy(b, a):
        return mpmath.euler * (1 - exp(-a)) + b - a + 1

    steep = [(0.3, 1.38), (0.3, 1.39), (-1.0, 5.0), (2.0, 9.0)]
    check_closed_form("mean", Weibull, SETTINGS + steep, lambda b, a: exp(b) * gamma(1 + exp(-a)))
    check_closed_form("variance", Weibull, SETTINGS + steep, variance)
    check_closed_form("mode", Weibull, SETTINGS + steep, mode)
    check_closed_form("entropy", Weibull, SETTINGS + steep, entropy)


def test_with_concentration_one_it_is_exponential():
    x = jnp.linspace(0.0, 9.0, 50)
    weibull = jax.vmap(Weibull(jnp.float32(-0.7), jnp.float32(0.0)).log_prob)(x)
    exponential = jax.vmap(Exponential(jnp.float32(0.7)).log_prob)(x)
    np.testing.assert_allclose(weibull, exponential, rtol=1e-5, atol=1e-6)


def test_cdf_is_that_of_scipy():
    for b, a in SETTINGS:
        x = jnp.float32(values(b, a))
        got = jax.vmap(Weibull(jnp.float32(b), jnp.float32(a)).cdf)(x)
        scale, k = np.exp(np.float64(np.float32(b))), np.exp(np.float64(np.float32(a)))
        exact = stats.weibull_min.cdf(np.float64(x), k, scale=scale)
        np.testing.assert_allclose(got, exact, rtol=1e-5)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, b, a):
        return -np.expm1(-np.exp(np.exp(a) * (np.log(x) - b)))

    check_kolmogorov_smirnov(Weibull, SETTINGS, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(b, a):
        return b - np.euler_gamma * jnp.exp(-a)

    check_pathwise_gradient(Weibull, SETTINGS[:8], expectation, np.log, number=number)
