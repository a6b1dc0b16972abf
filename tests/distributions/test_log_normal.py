import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from oracles import (
    assert_alike,
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_pathwise_gradient,
    every_size,
)
from scipy import stats

from jaxvae.distributions import LogNormal

# (loc, log_scale). A scale of 1e-4 is a thousand steps of float32 numbers.
SETTINGS = [
    (-30.0, -9.0),
    (-3.0, -9.0),
    (0.0, -6.0),
    (0.1, -3.0),
    (20.0, -9.0),
    (0.0, 0.0),
    (-5.0, 1.0),
    (3.0, 0.5),
    (20.0, -1.0),
    (-2.0, 1.5),
]


def around(loc, log_scale):
    return [np.exp(loc + np.exp(log_scale) * k) for k in (-5, -1, -0.01, 0, 0.1, 1, 5)]


def log_density(x, loc, log_scale):
    if x <= 0:
        return -mpmath.inf
    z = (mpmath.log(x) - loc) / mpmath.exp(log_scale)
    return -z * z / 2 - log_scale - mpmath.log(x) - mpmath.log(2 * mpmath.pi) / 2


def test_log_prob_is_exact_from_narrow_to_wide():
    check_log_prob(LogNormal, SETTINGS, lambda *p: [-1.0, 0.0, *around(*p)], log_density)


def test_moments_and_entropy_are_their_closed_forms():
    def square(s):
        return mpmath.exp(2 * s)

    def variance(m, s):
        return mpmath.expm1(square(s)) * mpmath.exp(2 * m + square(s))

    def entropy(m, s):
        return m + s + (1 + mpmath.log(2 * mpmath.pi)) / 2

    check_closed_form("mean", LogNormal, SETTINGS, lambda m, s: mpmath.exp(m + square(s) / 2))
    check_closed_form("mode", LogNormal, SETTINGS, lambda m, s: mpmath.exp(m - square(s)))
    check_closed_form("variance", LogNormal, SETTINGS, variance)
    check_closed_form("entropy", LogNormal, SETTINGS, entropy)


@every_size
def test_samples_and_cdf_are_those_of_scipy(number):
    def cdf(x, loc, log_scale):
        return stats.lognorm.cdf(x, np.exp(log_scale), scale=np.exp(loc))

    # Narrower ones have too few float32 numbers for a test of a continuous distribution.
    check_kolmogorov_smirnov(LogNormal, [s for s in SETTINGS if s[1] > -4], cdf, number=number)
    x = jnp.array([-1.0, 0.0, 0.2, 1.0, 9.0])
    distribution = LogNormal(jnp.full(5, 0.3), jnp.full(5, 0.2))
    np.testing.assert_allclose(distribution.cdf(x), cdf(np.float64(x), 0.3, 0.2), 1e-5)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def mean(loc, log_scale):
        return jnp.exp(loc + 0.5 * jnp.exp(2 * log_scale))

    check_pathwise_gradient(
        LogNormal, [(0.0, -6.0), (0.1, -3.0), (0.5, -1.0), (-5.0, 0.0)], mean, number=number
    )


def test_the_noise_gives_event_and_density_together():
    distribution = LogNormal(jnp.array([0.3, -2.0]), jnp.array([0.2, -4.0]))
    noise = distribution.noise.sample(jax.random.key(0))
    value, log_prob = distribution.transform_and_log_prob(noise)
    assert_alike(value, distribution.transform(noise))
    np.testing.assert_allclose(log_prob, distribution.log_prob(value), 1e-5)
    # Of the event exp(200) nothing is left, of its density everything.
    far = LogNormal(jnp.array([200.0]), jnp.array([0.0]))
    exact = -200.0 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(far.transform_and_log_prob(jnp.zeros(1))[1], exact, 1e-6)
