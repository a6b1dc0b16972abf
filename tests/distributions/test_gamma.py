from functools import partial

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
from scipy import special, stats

from jaxvae.distributions import ChiSquared, Erlang, Exponential, Gamma
from jaxvae.distributions.composition._log_gamma import sample_log_gamma

# (log_concentration, log_rate): concentrations from 1e-8 to 1e6.
SETTINGS = [
    (-18.0, 0.0),
    (-7.0, 6.7),
    (-2.0, -5.3),
    (-0.1, 0.3),
    (0.0, 2.0),
    (0.1, 20.0),
    (3.0, -20.0),
    (7.0, 1.1),
    (11.0, 0.0),
    (13.8, -3.3),
]
ORDINARY = [s for s in SETTINGS if -3 < s[0] < 8]


def around(log_concentration, log_rate):
    mean, width = np.exp(log_concentration - log_rate), np.exp(-0.5 * log_concentration)
    near = [1 + k * width for k in (-3.0, -1.0, -0.1, 0.2, 1.0, 6.0) if 1 + k * width > 0]
    return [t * mean for t in (1e-9, 1e-2, 0.6, 1.0, 1.001, 1.7, 20.0, 400.0, *near)]


def log_density(x, log_a, log_r):
    if x < 0:
        return -mpmath.inf
    a = mpmath.exp(log_a)
    return a * log_r + (a - 1) * mpmath.log(x) - mpmath.exp(log_r) * x - mpmath.loggamma(a)


def test_log_prob_is_exact_for_every_concentration():
    check_log_prob(Gamma, SETTINGS, lambda *p: [-1.0, *around(*p)], log_density)


def test_log_prob_at_zero_is_the_limit():
    parameters = np.float32([-1.0, 0.0, 1.0]), np.full(3, 2.0, np.float32)
    for end, limits in ((0.0, [np.inf, 2.0, -np.inf]), (np.inf, [-np.inf] * 3)):
        got = evaluate(Gamma, "log_prob_by_factor", parameters, np.full(3, end, np.float32))
        np.testing.assert_array_equal(got, limits)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
def test_scores_are_exact_inside_and_zero_outside(dtype):
    tolerance = TOLERANCES[dtype]
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(50):
        # The last two are outside; at zero the density is finite only for a = 1.
        points = [np.asarray([*around(*s)[:12], -1.0, 0.0], dtype) for s in SETTINGS]
        table = tabulate(log_prob_and_scores(Gamma), SETTINGS, points, dtype)
        held = zip(*columns(SETTINGS, dtype), strict=True)
        for (_, by_a, by_r, by_x), at, parameters in zip(table, points, held, strict=True):
            x = [mpmath.mpf(float(v)) for v in at[:-2]]
            log_a, log_r = (mpmath.mpf(float(p)) for p in parameters)
            a, r = mpmath.exp(log_a), mpmath.exp(log_r)
            psi = mpmath.psi(0, a)
            # Of the spread of the score, the root of a.
            spread = max(1.0, float(mpmath.sqrt(a)))
            exact = np.array([float(a * (log_r + mpmath.log(v) - psi)) for v in x])
            assert_near(by_a[:-2] / spread, exact / spread, tolerance, f"{parameters}")
            exact = np.array([float(a - r * v) for v in x])
            assert_near(by_r[:-2] / spread, exact / spread, tolerance, f"{parameters}")
            # (a - 1)/x and r cancel: of their sizes.
            size = np.array([float((a + 1) / v + r) for v in x])
            exact = np.array([float((a - 1) / v - r) for v in x])
            assert_near(by_x[:-2] / size, exact / size, tolerance, f"{parameters}")
            assert by_a[-2] == by_r[-2] == by_x[-2] == by_x[-1] == by_a[-1] == 0


def test_moments_and_entropy_are_their_closed_forms():
    def exp(x):
        return mpmath.exp(x)

    def entropy(log_a, log_r):
        a = exp(log_a)
        return a - log_r + mpmath.loggamma(a) + (1 - a) * mpmath.psi(0, a)

    def mode(a, r):
        return max(exp(a) - 1, 0) / exp(r)

    check_closed_form("mean", Gamma, SETTINGS, lambda a, r: exp(a - r))
    check_closed_form("variance", Gamma, SETTINGS, lambda a, r: exp(a - 2 * r))
    check_closed_form("mode", Gamma, SETTINGS, mode)
    check_closed_form("entropy", Gamma, SETTINGS, entropy)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, log_a, log_r):
        return stats.gamma.cdf(x, np.exp(log_a), scale=np.exp(-log_r))

    check_kolmogorov_smirnov(Gamma, SETTINGS[2::2] + SETTINGS[-1:], cdf, number=number)


def test_logarithms_of_samples_pass_where_samples_underflow():
    parameters = np.full(20_000, -7.0, np.float32), np.zeros(20_000, np.float32)
    log_x = np.float64(evaluate(Gamma, "sample_log", parameters, jax.random.key(0)))
    a = np.exp(-7.0)
    assert np.mean(log_x < -100) > 0.9

    def cdf(y):  # x^a / Gamma(a + 1) far below 1
        tail = np.exp(np.minimum(a * y - special.gammaln(a + 1), 0.0))
        return np.where(y < -100, tail, stats.gamma.cdf(np.exp(y), a))

    assert stats.kstest(log_x, cdf).pvalue > 1e-3
    assert draws(Gamma, [(-7.0, 0.0)]).min() == np.finfo(np.float32).tiny


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    check_pathwise_gradient(Gamma, ORDINARY, lambda a, r: jnp.exp(a - r), number=number)

    def mean_log(a, r):
        return jax.scipy.special.digamma(jnp.exp(a)) - r

    check_pathwise_gradient(Gamma, ORDINARY, mean_log, np.log, number=number)


def exact_slope(log_x, log_a):
    """d log x / d log a at a fixed distribution function, by its differences in 40 digits."""
    a, x = mpmath.exp(log_a), mpmath.exp(log_x)
    h = a * mpmath.mpf(10) ** -12
    upper = x > a
    limits = (x, mpmath.inf) if upper else (0, x)
    high, low = (mpmath.gammainc(s, *limits, regularized=True) for s in (a + h, a - h))
    slope = (low - high) if upper else (high - low)
    density = mpmath.exp(a * log_x - x - mpmath.loggamma(a))
    return -a * slope / (2 * h) / density


@pytest.mark.parametrize(
    "dtype", [jnp.float32, pytest.param(jnp.float64, marks=pytest.mark.exhaustive)]
)
def test_implicit_derivatives_hold_the_distribution_function_fixed(dtype):
    """Where JAX's own is wrong too: by factors at 1e-3, by percents at 1e6 (float32)."""
    both = jax.jit(jax.vmap(jax.value_and_grad(lambda a, k: sample_log_gamma(k, a))))
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(40):
        # Two of each; 95 and 4920 are just above where the expansion takes over.
        concentrations = np.repeat([1e-3, 1e-2, 0.3, 2.0, 60.0, 95.0, 4.92e3, 9e3, 1e6], 2)
        log_a = jnp.asarray(np.log(concentrations), dtype)
        log_x, got = both(log_a, jax.random.split(jax.random.key(3), len(log_a)))
        pairs = [
            (mpmath.mpf(float(x)), mpmath.mpf(float(a)))
            for x, a in zip(np.asarray(log_x), np.asarray(log_a), strict=True)
        ]
        exact = np.array([float(exact_slope(*pair)) for pair in pairs])
        assert_near(np.float64(got) / exact, np.ones_like(exact), TOLERANCES[dtype])


def test_integer_shapes_are_erlang_and_a_shape_of_one_is_exponential():
    x, log_rate = np.float32([1e-3, 0.5, 4.0, 30.0]), np.float32([-1.0, 0.0, 0.3, 1.0])
    for shape in (1, 3):
        logs = np.full(4, np.log(shape), np.float32)
        got = evaluate(Gamma, "log_prob_by_factor", (logs, log_rate), x)
        erlang = evaluate(partial(Erlang, shape), "log_prob_by_factor", (log_rate,), x)
        np.testing.assert_allclose(got, erlang, 1e-5, 1e-6)
    exponential = evaluate(Exponential, "log_prob_by_factor", (log_rate,), x)
    one = evaluate(Gamma, "log_prob_by_factor", (np.zeros(4, np.float32), log_rate), x)
    np.testing.assert_allclose(one, exponential, 1e-5, 1e-6)


def test_cdf_is_that_of_scipy():
    points = [np.float32([*around(*parameters), -1.0]) for parameters in ORDINARY]
    table = tabulate(cdf_of(Gamma), ORDINARY, points, np.float32)
    for (got,), x, (log_a, log_r) in zip(table, points, np.float32(ORDINARY), strict=True):
        exact = stats.gamma.cdf(x, np.exp(log_a), scale=np.exp(-log_r))
        # JAX's incomplete Gamma function loses digits in proportion to the concentration.
        assert np.all(np.abs(got - exact) <= 1e-5 + 1e-6 * np.exp(log_a))
        assert got[-1] == 0.0


CHI_SQUARED = [(x,) for x in (-18.0, -7.0, -2.0, 0.0, 0.5, 1.0, 3.0, 7.0, 11.0, 13.8)]


def test_chi_squared_is_a_gamma_of_half_its_degrees():
    half = mpmath.log(2)
    check_log_prob(
        ChiSquared,
        CHI_SQUARED,
        lambda n: [-1.0, *around(n, 0.0)],
        lambda x, n: log_density(x, n - half, -half),
    )

    def entropy(n):
        a = mpmath.exp(n) / 2
        return a + half + mpmath.loggamma(a) + (1 - a) * mpmath.psi(0, a)

    check_closed_form("mean", ChiSquared, CHI_SQUARED, mpmath.exp)
    check_closed_form("variance", ChiSquared, CHI_SQUARED, lambda n: 2 * mpmath.exp(n))
    check_closed_form("entropy", ChiSquared, CHI_SQUARED, entropy)
    check_closed_form("mode", ChiSquared, CHI_SQUARED, lambda n: max(mpmath.exp(n) - 2, 0))


@every_size
def test_chi_squared_samples_and_their_gradients(number):
    def cdf(x, n):
        return stats.chi2.cdf(x, np.exp(n))

    ordinary = [s for s in CHI_SQUARED if s[0] > -3]
    check_kolmogorov_smirnov(ChiSquared, ordinary[::2], cdf, number=number)
    check_pathwise_gradient(ChiSquared, ordinary[:4], jnp.exp, number=number)
    x, log_df = np.float32([0.1, 1.0, 5.0, 9.0]), np.float32([-1.0, 0.0, 1.0, 2.0])
    got = evaluate(ChiSquared, "cdf", (log_df,), x)
    np.testing.assert_allclose(got, cdf(np.float64(x), np.float64(log_df)), 1e-5)
