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
from scipy import integrate, stats

from jaxvae.distributions import Exponential, Pareto

SETTINGS = [
    (0.0, 0.0),
    (-20.0, -1.0),
    (20.0, 1.0),
    (-9.0, 3.0),
    (9.0, 4.0),
    (0.3, -0.7),
    (2.0, 0.7),
    (-3.0, 0.6),
    (5.0, 1.5),
    (-0.1, 2.0),
]


def values(log_scale, log_concentration):
    return [np.exp(log_scale) * r for r in (-1.0, 0.5, 1.001, 1.3, 3.0, 40.0, 1e5, 1e15)]


def log_density(x, b, a):
    if x < mpmath.exp(b):
        return -mpmath.inf
    return a - mpmath.exp(a) * (mpmath.log(x) - b) - mpmath.log(x)


def test_log_prob_is_exact_from_the_minimum_into_the_tail():
    check_log_prob(Pareto, [*SETTINGS, (20.0, 6.0)], values, log_density)


def test_gradients_of_log_prob_are_exact_and_zero_outside():
    check_log_prob_gradient(Pareto, SETTINGS, values, log_density, lambda b, _: np.exp(b))


def test_moments_and_entropy_are_their_closed_forms():
    def mean(b, a):
        k = mpmath.exp(a)
        return k * mpmath.exp(b) / (k - 1) if k > 1 else mpmath.inf

    def variance(b, a):
        k = mpmath.exp(a)
        return mpmath.exp(2 * b) * k / ((k - 1) ** 2 * (k - 2)) if k > 2 else mpmath.inf

    check_closed_form("mean", Pareto, SETTINGS, mean)
    check_closed_form("variance", Pareto, SETTINGS, variance)
    check_closed_form("mode", Pareto, SETTINGS, lambda b, _: mpmath.exp(b))
    check_closed_form("entropy", Pareto, SETTINGS, lambda b, a: 1 + b - a + mpmath.exp(-a))


def test_every_sample_is_in_the_support():
    u = jnp.float32([2.0**-24, 1e-4, 0.5, 1 - 2.0**-24])
    grid = jnp.meshgrid(jnp.linspace(-20, 20, 201), jnp.linspace(-1, 8, 50), u)
    distribution = Pareto(grid[0], grid[1])
    log_prob = jax.jit(lambda d, u: d.log_prob_by_factor(d.transform(u)))(distribution, grid[2])
    assert np.all(np.isfinite(log_prob))


def test_its_logarithm_over_the_minimum_is_exponential():
    log_size = jnp.linspace(0.01, 5.0, 40)
    log_rate = jnp.float32(0.4)
    pareto = jax.vmap(Pareto(jnp.float32(0.0), log_rate).log_prob)(jnp.exp(log_size)) + log_size
    exponential = jax.vmap(Exponential(log_rate).log_prob)(log_size)
    np.testing.assert_allclose(pareto, exponential, rtol=1e-5, atol=1e-6)


def test_cdf_is_that_of_scipy():
    for b, a in SETTINGS:
        x = jnp.float32(np.exp(b) * np.array([0.3, 1.01, 2.0, 30.0, 1e6]))
        got = jax.vmap(Pareto(jnp.float32(b), jnp.float32(a)).cdf)(x)
        scale, k = np.exp(np.float64(np.float32(b))), np.exp(np.float64(np.float32(a)))
        # Next to the minimum the ratio less one has a hundredth of the ratio's digits.
        np.testing.assert_allclose(got, stats.pareto.cdf(np.float64(x), k, scale=scale), rtol=5e-5)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, b, a):
        return -np.expm1(-np.exp(a) * np.maximum(np.log(x) - b, 0.0))

    # Single precision has steps of 1e-7 in a sample: concentrations at which that is no atom.
    check_kolmogorov_smirnov(Pareto, SETTINGS, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    check_pathwise_gradient(
        Pareto, SETTINGS[:8], lambda b, a: b + jnp.exp(-a), np.log, number=number
    )


def test_the_density_integrates_to_one():
    log_prob = Pareto(jnp.float32(0.5), jnp.float32(0.2)).log_prob

    def density(log_x):
        return np.exp(float(log_prob(jnp.float32(np.exp(log_x)))) + log_x)

    assert abs(integrate.quad(density, 0.5000001, 14.0, limit=100)[0] - 1) < 1e-4
