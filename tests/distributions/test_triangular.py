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

from jaxvae.distributions import Triangular, Uniform

SETTINGS = [
    (0.0, 0.0, 0.0),
    (3.0, -3.0, 1.0),
    (-1e3, 20.0, -2.0),
    (0.0, -20.0, 5.0),
    (0.1, 2.0, -5.0),
    (-2.0, -1.0, 12.0),
    (5.0, 0.7, -12.0),
    (-0.3, 3.0, 0.4),
    (1e-4, -3.0, -0.4),
    (40.0, 9.0, 3.0),
]


def relative(t):
    def values(low, log_width, _):
        return [low + x * np.exp(log_width) for x in t]

    return values


# Closer to the upper bound the density depends on the rounding of the bound itself.
values = relative((-3.0, -0.1, 0.01, 0.2, 0.61, 0.9, 1.2, 1e4))


def log_density(x, low, log_width, logit):
    t, m = (x - low) / mpmath.exp(log_width), 1 / (1 + mpmath.exp(-logit))
    if not 0 < t < 1:
        return -mpmath.inf
    return mpmath.log(2 * (t / m if t < m else (1 - t) / (1 - m))) - log_width


def test_log_prob_is_exact_inside_and_minus_infinity_outside():
    check_log_prob(Triangular, SETTINGS, values, log_density)


def test_log_prob_is_exact_up_to_both_ends_where_the_upper_one_is_a_number():
    settings = [(0.0, 0.0, x) for x in (-9.0, -1.0, 0.0, 0.3, 4.0)]
    ends = relative((0.0, 1e-30, 1e-6, 0.99, 0.99999, 1 - 2.0**-23, 1.0))
    check_log_prob(Triangular, settings, ends, log_density)


def test_gradients_of_log_prob_are_exact_and_zero_outside():
    check_log_prob_gradient(Triangular, SETTINGS, values, log_density, lambda a, b, _: np.exp(b))


def test_moments_and_entropy_are_their_closed_forms():
    e = mpmath.exp

    def mode(logit):
        return 1 / (1 + e(-logit))

    def variance(_, b, c):
        return e(2 * b) * (1 - mode(c) + mode(c) ** 2) / 18

    check_closed_form("mean", Triangular, SETTINGS, lambda a, b, c: a + e(b) * (1 + mode(c)) / 3)
    check_closed_form("variance", Triangular, SETTINGS, variance)
    check_closed_form("mode", Triangular, SETTINGS, lambda a, b, c: a + e(b) * mode(c))
    check_closed_form("entropy", Triangular, SETTINGS, lambda a, b, _: 0.5 + b - mpmath.log(2))


def test_cdf_is_that_of_scipy_and_inverts_the_transformation():
    u = jnp.float32([2.0**-24, 1e-4, 0.1, 0.25, 0.5, 0.9, 1 - 2.0**-24])
    for m in (0.01, 0.25, 0.5, 0.9):
        low, mode, high = (jnp.full(7, x) for x in (-1.0, -1.0 + 3 * m, 2.0))
        distribution = Triangular.from_bounds(low, mode, high)
        x = jnp.linspace(-1.5, 2.5, 7)
        exact = stats.triang.cdf(np.float64(x), m, -1.0, 3.0)
        np.testing.assert_allclose(distribution.cdf(x), exact, atol=5e-7)
        np.testing.assert_allclose(distribution.cdf(distribution.transform(u)), u, atol=5e-7)


def test_the_mean_of_two_uniform_variables_is_triangular():
    first, second = draws(Uniform, [(-1.0, 0.0), (-1.0, 0.0)], seed=1)
    half = (first + second) / 2
    assert stats.ks_2samp(half, draws(Triangular, [(-1.0, 0.0, 0.0)], seed=3)[0]).pvalue > 1e-3


def test_a_mode_that_has_run_to_an_end_has_exact_gradients():
    def sample(logit, u):
        return Triangular(jnp.float32(0.0), jnp.float32(0.0), logit).transform(u)

    u = jnp.float32([2.0**-24, 0.3, 0.99])
    for logit in (-200.0, 200.0):
        value, slope = jax.vmap(jax.value_and_grad(sample), (None, 0))(jnp.float32(logit), u)
        u64 = np.float64(u)
        exact = np.sqrt(u64) if logit > 0 else -np.expm1(0.5 * np.log1p(-u64))
        np.testing.assert_allclose(value, exact, atol=1e-7)
        np.testing.assert_array_equal(slope, np.zeros(3))


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, low, log_width, logit):
        return stats.triang.cdf(x, 1 / (1 + np.exp(-logit)), low, np.exp(log_width))

    check_kolmogorov_smirnov(Triangular, SETTINGS, cdf, number=number)


@every_size
def test_gradients_of_bounds_and_mode_flow_through_the_sample(number):
    def expectation(low, log_width, logit):
        m, w = jax.nn.sigmoid(logit), jnp.exp(log_width)
        return (low + w * (1 + m) / 3) ** 2 + w**2 * (1 - m + m * m) / 18

    settings = [(0.0, 0.0, 0.0), (3.0, -1.0, 2.0), (-2.0, 1.0, -2.0), (0.5, 2.0, 5.0)]
    check_pathwise_gradient(Triangular, settings, expectation, lambda x: x * x, number=number)
