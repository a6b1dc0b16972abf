import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from oracles import (
    assert_near,
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_log_prob_gradient,
    check_pathwise_gradient,
    every_size,
)
from scipy import stats

from jaxvae.distributions import Cauchy

SETTINGS = [
    (0.0, 0.0),
    (3.0, -20.0),
    (-1e3, 20.0),
    (1e5, 5.0),
    (0.1, -9.0),
    (-2.0, -1.0),
    (5.0, 0.7),
    (-0.3, 3.0),
    (1e-4, -3.0),
    (40.0, 9.0),
]
STANDARD = (0.0, 1e-4, -0.3, 1.0, -5.0, 300.0, -1e6, 1e12, -1e25)


def values(loc, log_scale):
    return [loc + z * np.exp(log_scale) for z in STANDARD]


def log_density(x, loc, log_scale):
    z = (x - loc) / mpmath.exp(log_scale)
    return -mpmath.log(mpmath.pi * (1 + z**2)) - log_scale


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    check_log_prob(Cauchy, SETTINGS, values, log_density)


def test_gradients_of_log_prob_are_exact():
    check_log_prob_gradient(Cauchy, SETTINGS, values, log_density, lambda _, b: np.exp(b))


def test_a_square_beyond_the_largest_number_has_a_density_and_a_gradient():
    x, log_scale = jnp.float32(1e30), jnp.float32(-30.0)
    log_prob = Cauchy(jnp.float32(0.0), log_scale).log_prob
    assert_near(log_prob(x), -np.log(np.pi) - 30.0 - 2 * np.log(1e30), 1e-6)
    assert_near(jax.grad(log_prob)(x) * x, -2.0, 1e-6)


def test_cdf_is_exact_in_both_tails():
    z = jnp.float32([-1e30, -1e8, -3.0, 0.0, 2.0, 1e8])
    got = jax.vmap(Cauchy(jnp.float32(0.0), jnp.float32(0.0)).cdf)(z)
    np.testing.assert_allclose(got, stats.cauchy.cdf(np.float64(z)), rtol=3e-7)


def test_no_moment_exists_and_the_entropy_is_its_closed_form():
    distribution = Cauchy(jnp.zeros(2), jnp.zeros(2))
    assert np.all(np.isnan(distribution.mean))
    assert np.all(np.isnan(distribution.variance))
    check_closed_form("entropy", Cauchy, SETTINGS, lambda _, b: mpmath.log(4 * mpmath.pi) + b)


def test_the_transformation_keeps_its_digits_at_the_ends_and_reflects_exactly():
    standard = Cauchy(jnp.zeros(8), jnp.zeros(8))
    u = jnp.float32([2.0**-24, 3 * 2.0**-24, 1e-5, 0.1, 0.25, 0.4, 0.4999, 1 - 2.0**-24])
    with mpmath.workdps(30):
        exact = [float(-mpmath.cot(mpmath.pi * mpmath.mpf(float(v)))) for v in u]
    np.testing.assert_allclose(standard.transform(u), exact, rtol=5e-7)
    drawn = standard.noise.sample(jax.random.key(0))
    reflected = standard.transform(standard.noise.reflect(drawn))
    np.testing.assert_array_equal(reflected, -standard.transform(drawn))


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, loc, log_scale):
        return stats.cauchy.cdf(x, loc, np.exp(log_scale))

    # Single precision holds a location of 3 with steps of 2e-7: no scale of e^-20 beside it.
    check_kolmogorov_smirnov(
        Cauchy, [(0.0, -20.0), *SETTINGS[:1], *SETTINGS[2:]], cdf, number=number
    )


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(loc, log_scale):
        return jnp.log((1 + jnp.exp(log_scale)) ** 2 + loc**2)

    settings = [(0.0, 0.0), (3.0, -1.0), (-2.0, 1.0), (0.5, -3.0)]
    check_pathwise_gradient(Cauchy, settings, expectation, lambda x: np.log1p(x * x), number=number)
