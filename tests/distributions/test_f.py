import jax.numpy as jnp
import mpmath
import numpy as np
from jax.scipy.special import digamma
from oracles import (
    cdf_of,
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_pathwise_gradient,
    evaluate,
    every_size,
    tabulate,
)
from scipy import stats

from jaxvae.distributions import F

# (log_df1, log_df2)
SETTINGS = [
    (-18.0, -18.0),
    (-7.0, 13.8),
    (13.8, -7.0),
    (-1.0, -0.5),
    (0.0, 0.0),
    (0.3, 2.0),
    (3.0, 1.2),
    (7.0, 7.2),
    (13.8, 2.0),
    (13.8, 13.7),
]
ORDINARY = [s for s in SETTINGS if min(s) > -3 and max(s) < 8]
POINTS = [1e-30, 1e-9, 1e-3, 0.1, 0.49, 0.51, 0.99, 0.999, 1.0, 1.001, 1.01, 1.9, 2.1, 1e9, 1e30]


def halves(log_df1, log_df2):
    return mpmath.exp(log_df1) / 2, mpmath.exp(log_df2) / 2


def log_beta(a, b):
    return mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)


def log_density(x, log_df1, log_df2):
    if x < 0:
        return -mpmath.inf
    a, b = halves(log_df1, log_df2)
    whole = mpmath.log(a * x + b)
    return (
        a * (mpmath.log(a * x) - whole)
        + b * (mpmath.log(b) - whole)
        - mpmath.log(x)
        - log_beta(a, b)
    )


def test_log_prob_is_exact_for_every_pair_of_degrees():
    check_log_prob(F, SETTINGS, lambda *_: [-1.0, *POINTS], log_density)


def test_log_prob_at_the_ends():
    degrees = np.log(np.float32([1.0, 2.0, 3.0])), np.zeros(3, np.float32)
    for end, limits in ((0.0, [np.inf, 0.0, -np.inf]), (np.inf, [-np.inf] * 3)):
        got = evaluate(F, "log_prob_by_factor", degrees, np.full(3, end, np.float32))
        np.testing.assert_allclose(got, limits, atol=1e-6)


def test_moments_and_entropy_are_their_closed_forms():
    def mean(n, m):
        m = mpmath.exp(m)
        return m / (m - 2) if m > 2 else mpmath.inf

    def variance(n, m):
        n, m = mpmath.exp(n), mpmath.exp(m)
        if m <= 4:
            return mpmath.inf if m > 2 else mpmath.nan
        return 2 * m**2 * (n + m - 2) / (n * (m - 2) ** 2 * (m - 4))

    def mode(n, m):
        n, m = mpmath.exp(n), mpmath.exp(m)
        return max((n - 2) / n, 0) * m / (m + 2)

    def entropy(n, m):
        a, b = halves(n, m)
        digammas = (1 - a) * mpmath.psi(0, a) - (1 + b) * mpmath.psi(0, b)
        whole = (a + b) * mpmath.psi(0, a + b)
        return mpmath.log(b / a) + log_beta(a, b) + digammas + whole

    check_closed_form("mean", F, SETTINGS, mean)
    finite = [s for s in SETTINGS if s[1] > np.log(2)]
    check_closed_form("variance", F, finite, variance)
    assert np.all(
        np.isnan(evaluate(F, "variance", (np.float32([0.0, 2.0]), np.zeros(2, np.float32))))
    )
    check_closed_form("mode", F, SETTINGS, mode)
    check_closed_form("entropy", F, SETTINGS, entropy)


def cdf(x, n, m):
    return stats.f.cdf(x, np.exp(n), np.exp(m))


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    check_kolmogorov_smirnov(F, ORDINARY, cdf, number=number)


def test_cdf_is_that_of_scipy():
    x = np.float32([0.01, 0.5, 1.0, 3.0, -1.0])
    table = tabulate(cdf_of(F), ORDINARY, [x] * len(ORDINARY), np.float32)
    for (got,), (n, m) in zip(table, np.float32(ORDINARY), strict=True):
        # JAX's incomplete Beta function loses digits in proportion to the degrees.
        tolerance = 1e-5 + 1e-6 * (np.exp(n) + np.exp(m))
        np.testing.assert_allclose(got, cdf(x, n, m), rtol=0, atol=tolerance)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def one(log_df):
        x = 0.5 * jnp.exp(log_df)
        return digamma(x) - jnp.log(x)

    def mean_log(n, m):
        return one(n) - one(m)

    check_pathwise_gradient(F, ORDINARY, mean_log, np.log, number=number)


def test_one_degree_above_and_many_below_is_a_squared_normal():
    x = np.float32([1e-3, 0.5, 1.0, 4.0])
    degrees = np.zeros(4, np.float32), np.full(4, 18.0, np.float32)
    got = evaluate(F, "log_prob_by_factor", degrees, x)
    np.testing.assert_allclose(got, stats.chi2.logpdf(x, 1), 1e-5, 1e-6)
