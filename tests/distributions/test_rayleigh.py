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

from jaxvae.distributions import Normal, Rayleigh, Weibull

SETTINGS = [(x,) for x in (-20.0, -9.0, -3.0, -1.0, -0.1, 0.0, 0.5, 2.0, 8.0, 20.0)]


def values(log_scale):
    return [-1.0] + [z * np.exp(log_scale) for z in (1e-9, 1e-3, 0.5, 1.1, 5, 80, 1e4)]


def log_density(x, a):
    return mpmath.log(x) - 2 * a - (x / mpmath.exp(a)) ** 2 / 2 if x > 0 else -mpmath.inf


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    check_log_prob(Rayleigh, SETTINGS, lambda a: [0.0, *values(a)], log_density)


def test_gradients_of_log_prob_are_exact_and_zero_outside():
    check_log_prob_gradient(Rayleigh, [(-45.0,), *SETTINGS], values, log_density, np.exp)


def test_moments_and_entropy_are_their_closed_forms():
    e, pi = mpmath.exp, mpmath.pi
    check_closed_form("mean", Rayleigh, SETTINGS, lambda a: e(a) * mpmath.sqrt(pi / 2))
    check_closed_form("variance", Rayleigh, SETTINGS, lambda a: e(2 * a) * (4 - pi) / 2)
    check_closed_form("mode", Rayleigh, SETTINGS, e)
    check_closed_form(
        "entropy",
        Rayleigh,
        SETTINGS,
        lambda a: 1 + a - mpmath.log(2) / 2 + mpmath.euler / 2,
    )


def test_cdf_is_that_of_scipy():
    for (a,) in SETTINGS:
        x = jnp.float32(np.exp(a) * np.array([-1.0, 0.0, 1e-4, 0.3, 2.0, 6.0]))
        got = jax.vmap(Rayleigh(jnp.float32(a)).cdf)(x)
        exact = stats.rayleigh.cdf(np.float64(x), scale=np.exp(np.float32(a), dtype=float))
        np.testing.assert_allclose(got, exact, rtol=2e-6)


def test_it_is_a_weibull_of_concentration_two_and_the_length_of_a_normal_vector():
    x = jnp.linspace(0.01, 6.0, 50)
    log_scale = jnp.float32(0.3)
    weibull = Weibull(log_scale + 0.5 * jnp.log(2.0), jnp.log(2.0))
    got, same = jax.vmap(Rayleigh(log_scale).log_prob)(x), jax.vmap(weibull.log_prob)(x)
    np.testing.assert_allclose(got, same, rtol=1e-5, atol=1e-5)
    vectors = Normal(jnp.zeros((100_000, 2)), jnp.full((100_000, 2), log_scale))
    length = jnp.linalg.norm(vectors.sample(jax.random.key(0)), axis=-1)
    assert stats.ks_2samp(length, draws(Rayleigh, [(log_scale,)], seed=1)[0]).pvalue > 1e-3


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, log_scale):
        return stats.rayleigh.cdf(x, scale=np.exp(log_scale))

    check_kolmogorov_smirnov(Rayleigh, SETTINGS, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    check_pathwise_gradient(
        Rayleigh, SETTINGS[2:8], lambda a: 2 * jnp.exp(2 * a), lambda x: x * x, number=number
    )
