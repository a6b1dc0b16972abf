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

from jaxvae.distributions import Uniform
from jaxvae.distributions.noise import StandardUniform

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


def values(low, log_width):
    return [low + t * np.exp(log_width) for t in (-1e3, -0.1, 0.02, 0.4, 0.97, 1.2, 1e3)]


def log_density(x, low, log_width):
    return -log_width if low <= x <= low + mpmath.exp(log_width) else -mpmath.inf


def test_log_prob_is_exact_inside_and_minus_infinity_outside():
    settings = [s for s in SETTINGS if s[0] == 0 or s[1] > -20]
    check_log_prob(Uniform, settings, values, log_density)


def test_gradients_of_log_prob_are_exact_and_zero_outside():
    settings = [s for s in SETTINGS if s[0] == 0 or s[1] > -20]
    check_log_prob_gradient(Uniform, settings, values, log_density, lambda _, b: np.exp(b))


def test_moments_and_entropy_are_their_closed_forms():
    e = mpmath.exp
    check_closed_form("mean", Uniform, SETTINGS, lambda a, b: a + e(b) / 2)
    check_closed_form("variance", Uniform, SETTINGS, lambda _, b: e(2 * b) / 12)
    check_closed_form("entropy", Uniform, SETTINGS, lambda _, b: b)


def test_every_sample_is_in_the_support():
    u = jnp.float32([2.0**-24, 0.5, 1 - 2.0**-24])
    grid = jnp.meshgrid(jnp.linspace(-1e3, 1e3, 201), jnp.linspace(-20, 20, 50), u)
    distribution = Uniform(grid[0], grid[1])
    for wrap in (jax.jit, lambda f: f):
        log_prob = wrap(lambda d, u: d.log_prob_by_factor(d.transform(u)))(distribution, grid[2])
        assert np.all(np.isfinite(log_prob))


def test_cdf_and_bounds():
    distribution = Uniform.from_bounds(jnp.full(5, -1.0), jnp.full(5, 3.0))
    cdf = distribution.cdf(jnp.float32([-2.0, -1.0, 0.0, 3.0, 9.0]))
    np.testing.assert_allclose(cdf, [0, 0, 0.25, 1, 1], rtol=1e-6)
    u = StandardUniform((5,)).sample(jax.random.key(0))
    np.testing.assert_allclose(distribution.cdf(distribution.transform(u)), u, atol=3e-7)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, low, log_width):
        return np.clip((x - low) / np.exp(log_width), 0.0, 1.0)

    check_kolmogorov_smirnov(Uniform, [s for s in SAMPLED if s != (1e5, 9.0)], cdf, number=number)


@every_size
def test_gradients_of_both_bounds_flow_through_the_sample(number):
    def make(low, high):
        return Uniform.from_bounds(low, high)

    settings = [(0.0, 1.0), (-3.0, 2.0), (5.0, 5.5), (-1.0, 20.0)]
    check_pathwise_gradient(
        make, settings, lambda a, b: (a * a + a * b + b * b) / 3, lambda x: x * x, number=number
    )
