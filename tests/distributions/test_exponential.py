import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from oracles import (
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_pathwise_gradient,
    every_size,
)
from scipy import stats

from jaxvae.distributions import Exponential

SETTINGS = [(x,) for x in (-20.0, -9.0, -3.0, -1.0, -0.1, 0.0, 0.5, 2.0, 8.0, 20.0)]


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    def values(log_rate):
        return [-1.0, 0.0] + [t * np.exp(-log_rate) for t in (1e-9, 1e-3, 0.5, 1, 5, 80, 1e4)]

    def log_density(x, log_rate):
        return log_rate - mpmath.exp(log_rate) * x if x >= 0 else -mpmath.inf

    check_log_prob(Exponential, SETTINGS, values, log_density)


def test_moments_and_entropy_are_their_closed_forms():
    check_closed_form("mean", Exponential, SETTINGS, lambda a: mpmath.exp(-a))
    check_closed_form("variance", Exponential, SETTINGS, lambda a: mpmath.exp(-2 * a))
    check_closed_form("entropy", Exponential, SETTINGS, lambda a: 1 - a)


def test_the_cdf_is_that_of_scipy_and_its_slope_the_density_from_zero_on():
    for (log_rate,) in SETTINGS:
        distribution = Exponential(jnp.float32(log_rate))
        at = jnp.float32([-1.0, 0.0, 1e-6, 0.5, 3.0]) * jnp.exp(-distribution.log_rate)
        exact = stats.expon.cdf(np.float64(at), scale=np.exp(-np.float64(distribution.log_rate)))
        np.testing.assert_allclose(jax.vmap(distribution.cdf)(at), exact, rtol=1e-5)
        density = np.exp(jax.vmap(distribution.log_prob)(at))
        np.testing.assert_allclose(jax.vmap(jax.grad(distribution.cdf))(at), density, rtol=1e-5)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, log_rate):
        return stats.expon.cdf(x, scale=np.exp(-log_rate))

    check_kolmogorov_smirnov(Exponential, SETTINGS, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    check_pathwise_gradient(Exponential, SETTINGS[2:8], lambda a: jnp.exp(-a), number=number)
