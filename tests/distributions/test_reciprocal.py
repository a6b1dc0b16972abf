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

from jaxvae.distributions import Reciprocal, Uniform

SETTINGS = [
    (0.0, 0.0),
    (-20.0, 3.0),
    (10.0, 2.0),
    (-9.0, -3.0),
    (3.0, -5.0),
    (0.3, -0.7),
    (2.0, 0.7),
    (-3.0, 0.6),
    (5.0, 1.5),
    (-0.1, 2.0),
]


def values(log_low, log_width):
    return [np.exp(log_low + t * np.exp(log_width)) for t in (-1.0, 0.02, 0.3, 0.5, 0.98, 1.5)]


def log_density(x, a, b):
    if x <= 0:
        return -mpmath.inf
    t = (mpmath.log(x) - a) / mpmath.exp(b)
    return -mpmath.log(x) - b if 0 <= t <= 1 else -mpmath.inf


def test_log_prob_is_exact_inside_and_minus_infinity_outside():
    check_log_prob(Reciprocal, SETTINGS, lambda a, b: [-1.0, 0.0, *values(a, b)], log_density)


def test_gradients_of_log_prob_are_exact_and_zero_outside():
    check_log_prob_gradient(Reciprocal, SETTINGS, values, log_density, lambda a, _: np.exp(a))


def test_moments_and_entropy_are_their_closed_forms():
    e = mpmath.exp

    def mean(a, b):
        return e(a) * mpmath.expm1(e(b)) / e(b)

    def variance(a, b):
        return e(2 * a) * mpmath.expm1(2 * e(b)) / (2 * e(b)) - mean(a, b) ** 2

    narrow = [(1.0, -9.0), (0.0, 0.69), (0.0, 0.7)]
    check_closed_form("mean", Reciprocal, SETTINGS + narrow, mean)
    check_closed_form("variance", Reciprocal, SETTINGS + narrow, variance)
    check_closed_form("entropy", Reciprocal, SETTINGS + narrow, lambda a, b: a + e(b) / 2 + b)


def test_every_sample_is_in_the_support():
    u = jnp.float32([2.0**-24, 0.5, 1 - 2.0**-24])
    grid = jnp.meshgrid(jnp.linspace(-20, 20, 201), jnp.linspace(-12, 3, 50), u)
    distribution = Reciprocal(grid[0], grid[1])
    for wrap in (jax.jit, lambda f: f):
        log_prob = wrap(lambda d, u: d.log_prob_by_factor(d.transform(u)))(distribution, grid[2])
        assert np.all(np.isfinite(log_prob))


def test_its_logarithm_is_uniform_and_the_bounds_are_kept():
    log_x = jnp.linspace(-2.0, 2.0, 41)
    reciprocal = Reciprocal.from_bounds(jnp.exp(jnp.float32(-0.93)), jnp.exp(jnp.float32(1.21)))
    uniform = Uniform.from_bounds(jnp.float32(-0.93), jnp.float32(1.21))
    got = jax.vmap(reciprocal.log_prob)(jnp.exp(log_x)) + log_x
    np.testing.assert_allclose(got, jax.vmap(uniform.log_prob)(log_x), atol=1e-6)
    cdf = jax.vmap(reciprocal.cdf)(jnp.exp(log_x))
    np.testing.assert_allclose(cdf, jax.vmap(uniform.cdf)(log_x), atol=1e-6)
    assert cdf[0] == 0
    assert cdf[-1] == 1


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, a, b):
        return np.clip((np.log(x) - a) / np.exp(b), 0.0, 1.0)

    check_kolmogorov_smirnov(Reciprocal, SETTINGS, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(a, b):
        return jnp.exp(a) * jnp.expm1(jnp.exp(b)) / jnp.exp(b)

    check_pathwise_gradient(
        Reciprocal, [SETTINGS[i] for i in (0, 3, 4, 5, 6, 7)], expectation, number=number
    )
