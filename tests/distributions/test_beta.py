import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import (
    TOLERANCES,
    assert_near,
    cdf_of,
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_pathwise_gradient,
    columns,
    draws,
    evaluate,
    every_size,
    log_prob_and_scores,
    tabulate,
)
from scipy import stats

from jaxvae.distributions import Beta

# (log_alpha, log_beta)
SETTINGS = [
    (-18.0, -18.0),
    (-7.0, 13.8),
    (-7.0, -1.0),
    (-1.0, -0.5),
    (0.0, 0.0),
    (0.3, 2.0),
    (3.0, -2.0),
    (7.0, 7.2),
    (13.8, 2.0),
    (13.8, 13.7),
]
ORDINARY = [s for s in SETTINGS if min(s) > -3 and max(s) < 8]


def around(log_a, log_b):
    a, b = np.exp(log_a), np.exp(log_b)
    mean, width = a / (a + b), np.sqrt(a * b / (a + b + 1)) / (a + b)
    points = [mean + k * width for k in (-4.0, -1.0, -0.1, 0.3, 1.0, 4.0)]
    return [x for x in (1e-30, 1e-5, 0.3, 0.5, 1 - 1e-5, *points) if 1e-37 < x < 1 - 1e-7]


def log_beta(a, b):
    return mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)


def log_density(x, log_a, log_b):
    if not 0 < x < 1:
        return -mpmath.inf
    a, b = mpmath.exp(log_a), mpmath.exp(log_b)
    return (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log(1 - x) - log_beta(a, b)


def test_log_prob_is_exact_for_every_pair_of_concentrations():
    check_log_prob(Beta, SETTINGS, lambda *p: [-1.0, 2.0, *around(*p)], log_density)


def test_log_prob_at_the_ends_is_the_limit():
    parameters = np.float32([-1.0, 0.0, 1.0, 1.0]), np.float32([0.0, 0.7, 0.0, -1.0])
    for end, limits in ((0, [np.inf, 0.7, -np.inf, -np.inf]), (1, [-1.0, -np.inf, 1.0, np.inf])):
        got = evaluate(Beta, "log_prob_by_factor", parameters, np.full(4, end, np.float32))
        np.testing.assert_allclose(got, limits, 1e-6)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
def test_scores_are_exact(dtype):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(50):
        points = [np.asarray(around(*parameters)[-4:], dtype) for parameters in SETTINGS]
        table = tabulate(log_prob_and_scores(Beta), SETTINGS, points, dtype)
        held = zip(*columns(SETTINGS, dtype), strict=True)
        for (_, by_a, _, by_x), at, parameters in zip(table, points, held, strict=True):
            a, b = (mpmath.exp(mpmath.mpf(float(p))) for p in parameters)
            x = [mpmath.mpf(float(v)) for v in at]
            expected = mpmath.psi(0, a) - mpmath.psi(0, a + b)
            # Of the spread of the score, at most the root of a, and of the terms that cancel.
            spread = max(1.0, float(mpmath.sqrt(a)))
            exact = np.array([float(a * (mpmath.log(v) - expected)) for v in x])
            assert_near(by_a / spread, exact / spread, TOLERANCES[dtype], f"{parameters}")
            size = np.array([float((a + 1) / v + (b + 1) / (1 - v)) for v in x])
            exact = np.array([float((a - 1) / v - (b - 1) / (1 - v)) for v in x])
            assert_near(by_x / size, exact / size, TOLERANCES[dtype], f"{parameters}")


def test_moments_and_entropy_are_their_closed_forms():
    def moments(log_a, log_b):
        a, b = mpmath.exp(log_a), mpmath.exp(log_b)
        return a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))

    def entropy(log_a, log_b):
        a, b = mpmath.exp(log_a), mpmath.exp(log_b)
        digammas = [(s - k) * mpmath.psi(0, s) for s, k in ((a, 1), (b, 1), (a + b, 2))]
        return log_beta(a, b) - digammas[0] - digammas[1] + digammas[2]

    check_closed_form("mean", Beta, SETTINGS, lambda *p: moments(*p)[0])
    check_closed_form("variance", Beta, SETTINGS, lambda *p: moments(*p)[1])
    entropy_settings = [s for s in SETTINGS if s != (0.0, 0.0)]
    check_closed_form("entropy", Beta, entropy_settings, entropy)
    uniform = evaluate(Beta, "entropy_by_factor", (np.zeros(3, np.float32),) * 2)
    np.testing.assert_allclose(uniform, np.zeros(3), atol=1e-6)


def test_the_mode_is_the_largest_density_or_nan_where_there_are_two():
    log_a = np.float32([1.0, 2.0, -1.0, 0.0, 1.0, 0.0, -1.0, -1.0, 0.0])
    log_b = np.float32([2.0, 1.0, 1.0, 1.0, -1.0, -1.0, 0.0, -2.0, 0.0])
    a, b = np.exp(log_a), np.exp(log_b)
    first, second = (a[:2] - 1) / (a[:2] + b[:2] - 2)
    exact = [first, second, 0.0, 0.0, 1.0, 1.0, 0.0, np.nan, np.nan]
    np.testing.assert_allclose(evaluate(Beta, "mode", (log_a, log_b)), exact, 1e-6)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, log_a, log_b):
        return stats.beta.cdf(x, np.exp(log_a), np.exp(log_b))

    # Below these concentrations the samples near 1 are rounded to few numbers.
    check_kolmogorov_smirnov(Beta, [s for s in ORDINARY if min(s) >= -1], cdf, number=number)


def test_samples_stay_inside_where_they_round_to_the_ends():
    sample, limits = draws(Beta, [(-7.0, -7.0)])[0], np.finfo(np.float32)
    assert sample.min() == limits.tiny
    assert sample.max() == 1 - limits.epsneg
    assert abs(np.mean(sample > 0.5) - 0.5) < 4 * 0.5 / np.sqrt(sample.size)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def mean(a, b):
        return jax.nn.sigmoid(a - b)

    check_pathwise_gradient(Beta, ORDINARY, mean, number=number)

    def mean_square(a, b):
        a, b = jnp.exp(a), jnp.exp(b)
        return a * (a + 1) / ((a + b) * (a + b + 1))

    check_pathwise_gradient(Beta, ORDINARY, mean_square, np.square, number=number)


def test_cdf_is_that_of_scipy():
    x = np.float32([0.01, 0.2, 0.5, 0.9, -1.0, 3.0])
    table = tabulate(cdf_of(Beta), ORDINARY, [x] * len(ORDINARY), np.float32)
    for (got,), parameters in zip(table, np.float32(ORDINARY), strict=True):
        a, b = np.exp(np.float64(parameters))
        # JAX's incomplete Beta function loses digits in proportion to the concentrations.
        np.testing.assert_allclose(got, stats.beta.cdf(x, a, b), 0, 1e-5 + 1e-6 * (a + b))
