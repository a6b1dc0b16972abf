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

from jaxvae.distributions import Exponential, Gompertz

SETTINGS = [
    (0.0, 0.0),
    (-20.0, -1.0),
    (20.0, 1.0),
    (-9.0, 9.0),
    (9.0, -9.0),
    (0.3, -0.7),
    (2.0, 0.7),
    (-3.0, 0.6),
    (5.0, 1.5),
    (-0.1, 20.0),
]


def values(a, b):
    # Where the cumulative hazard is t.
    return [-1.0] + [
        np.log1p(t * np.exp(-a)) * np.exp(-b) for t in (1e-9, 1e-3, 0.4, 2.0, 50.0, 1e4)
    ]


def log_density(x, a, b):
    time = mpmath.exp(b) * x
    return a + b + time - mpmath.exp(a) * mpmath.expm1(time) if x >= 0 else -mpmath.inf


def test_log_prob_is_exact_from_zero_into_the_tail():
    check_log_prob(Gompertz, SETTINGS, lambda a, b: [0.0, *values(a, b)], log_density)


def test_gradients_of_log_prob_are_exact_and_zero_outside():
    def unit(a, b):
        return np.exp(-b - max(a, 0.0))

    check_log_prob_gradient(Gompertz, SETTINGS, values, log_density, unit)


def test_mean_mode_and_entropy_are_their_closed_forms():
    e = mpmath.exp

    def time(a):
        return (
            e(e(a)) * mpmath.e1(e(a))
            if a < 8
            else mpmath.quad(lambda t: e(-t) / (e(a) + t), [0, 1, 10, 100, 200])
        )

    settings = SETTINGS + [(x, 0.0) for x in (-1e-3, 1e-3, 0.6, 1.2, 3.0, 7.0)]
    check_closed_form("mean", Gompertz, settings, lambda a, b: time(a) * e(-b))
    check_closed_form("mode", Gompertz, settings, lambda a, b: max(-a, 0) * e(-b))
    check_closed_form("entropy", Gompertz, settings, lambda a, b: 1 - a - b - time(a))


def test_with_much_concentration_it_is_exponential():
    x = jnp.linspace(0.0, 9.0, 50)
    gompertz = jax.vmap(Gompertz(jnp.float32(16.0), jnp.float32(-16.0)).log_prob)(x)
    exponential = jax.vmap(Exponential(jnp.float32(0.0)).log_prob)(x)
    np.testing.assert_allclose(gompertz, exponential, atol=1e-5)


def test_cdf_is_that_of_scipy():
    for a, b in SETTINGS:
        x = jnp.float32(values(a, b))
        got = jax.vmap(Gompertz(jnp.float32(a), jnp.float32(b)).cdf)(x)
        eta, rate = np.exp(np.float64(np.float32(a))), np.exp(np.float64(np.float32(b)))
        exact = stats.gompertz.cdf(np.float64(x), eta, scale=1 / rate)
        np.testing.assert_allclose(got, exact, rtol=1e-5)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, a, b):
        return stats.gompertz.cdf(x, np.exp(a), scale=np.exp(-b))

    check_kolmogorov_smirnov(Gompertz, SETTINGS, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    # E exp(b x) = 1 + 1/eta.
    def make(a):
        return Gompertz(a, jnp.zeros_like(a))

    settings = [(x,) for x in (-3.0, -1.0, 0.0, 1.0, 3.0)]
    check_pathwise_gradient(make, settings, lambda a: jnp.exp(-a), np.expm1, number=number)


@every_size
def test_gradients_of_the_mean_are_those_of_samples(number):
    settings = [(-3.0, 0.3), (-0.5, -1.0), (0.5, 0.0), (3.0, 1.0)]
    check_pathwise_gradient(Gompertz, settings, lambda a, b: Gompertz(a, b).mean, number=number)
