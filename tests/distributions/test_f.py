import jax.numpy as jnp
import mpmath
import numpy as np
from jax.scipy.special import digamma
from oracles import (
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_pathwise_gradient,
    every_size,
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
    law = F(jnp.log(jnp.array([1.0, 2.0, 3.0])), jnp.zeros(3))
    np.testing.assert_allclose(law.log_prob_by_factor(jnp.zeros(3)), [np.inf, 0.0, -np.inf])
    assert float(law.log_prob(jnp.full(3, jnp.inf))) == -jnp.inf


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
    assert np.all(np.isnan([float(F(jnp.float32(n), jnp.float32(0.0)).variance) for n in (0, 2)]))
    check_closed_form("mode", F, SETTINGS, mode)
    check_closed_form("entropy", F, SETTINGS, entropy)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, n, m):
        return stats.f.cdf(x, np.exp(n), np.exp(m))

    check_kolmogorov_smirnov(F, ORDINARY, cdf, number=number)
    for n, m in ORDINARY:
        x = np.float32([0.01, 0.5, 1.0, 3.0, -1.0])
        law = F(jnp.full(5, n), jnp.full(5, m))
        exact = cdf(x, np.float32(n), np.float32(m))
        # JAX's incomplete Beta function loses digits in proportion to the degrees.
        tolerance = 1e-5 + 1e-6 * (np.exp(n) + np.exp(m))
        np.testing.assert_allclose(law.cdf(jnp.asarray(x)), exact, rtol=0, atol=tolerance)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def one(log_df):
        x = 0.5 * jnp.exp(log_df)
        return digamma(x) - jnp.log(x)

    def mean_log(n, m):
        return one(n) - one(m)

    check_pathwise_gradient(F, ORDINARY, mean_log, np.log, number=number)


def test_one_degree_above_and_many_below_is_a_squared_normal():
    x = jnp.array([1e-3, 0.5, 1.0, 4.0])
    law = F(jnp.zeros(4), jnp.full(4, 18.0))
    np.testing.assert_allclose(law.log_prob_by_factor(x), stats.chi2.logpdf(x, 1), 1e-5, 1e-6)
