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

from jaxvae.distributions import Cauchy, Normal, StudentT

SETTINGS = [
    (0.0, 0.0, 0.0),
    (3.0, -9.0, -4.6),
    (-1e3, 20.0, 1.0),
    (1e5, 9.0, 18.4),
    (0.0, -20.0, -2.0),
    (-2.0, -1.0, 0.7),
    (5.0, 0.7, 0.69),
    (-0.3, 3.0, 3.0),
    (1e-4, -3.0, 6.0),
    (40.0, 5.0, 9.0),
    (0.0, 0.0, 13.8),
]
STANDARD = (0.0, 1e-4, -0.3, 1.0, -5.0, 30.0, -1e4, 1e10, -1e20)


def values(loc, log_scale, _):
    return [loc + z * np.exp(log_scale) for z in STANDARD]


def log_density(x, loc, log_scale, log_df):
    z, df = (x - loc) / mpmath.exp(log_scale), mpmath.exp(log_df)
    ratio = mpmath.loggamma((df + 1) / 2) - mpmath.loggamma(df / 2)
    power = (df + 1) / 2 * mpmath.log1p(z * z / df)
    return ratio - mpmath.log(df * mpmath.pi) / 2 - log_scale - power


def test_log_prob_is_exact_from_a_hundredth_to_a_hundred_million_degrees_of_freedom():
    check_log_prob(StudentT, SETTINGS, values, log_density)


def test_gradients_of_log_prob_are_exact_in_the_degrees_of_freedom_too():
    check_log_prob_gradient(StudentT, SETTINGS, values, log_density, lambda a, b, _: np.exp(b))


def test_slope_in_the_degrees_of_freedom_keeps_its_relative_digits():
    def log_prob(log_df, z):
        return StudentT(jnp.zeros_like(z), jnp.zeros_like(z), log_df).log_prob(z)

    points = [(c, z) for c in (2.0, 6.0, 10.0, 14.0, 18.0) for z in (0.0, 0.5, 3.0)]
    got = jax.jit(jax.vmap(jax.grad(log_prob)))(*jnp.float32(points).T)
    with mpmath.workdps(60):
        exact = [
            float(mpmath.diff(lambda c, z=z: log_density(mpmath.mpf(z), 0, 0, c), log_df))
            for log_df, z in points
        ]
    np.testing.assert_allclose(got, exact, rtol=2e-5)


def test_moments_are_their_closed_forms_infinite_or_undefined():
    def mean(m, _, c):
        return m if c > 0 else mpmath.nan

    def variance(_, b, c):
        df = mpmath.exp(c)
        if df <= 1:
            return mpmath.nan
        return mpmath.exp(2 * b) * df / (df - 2) if df > 2 else mpmath.inf

    exist = [s for s in SETTINGS if s[2] > 0]
    check_closed_form("mean", StudentT, exist, mean)
    check_closed_form("variance", StudentT, exist, variance)
    few = StudentT(jnp.zeros(2), jnp.zeros(2), jnp.float32([-3.0, 0.0]))
    assert np.all(np.isnan(few.mean))
    assert np.all(np.isnan(few.variance))


def test_entropy_is_its_closed_form():
    def entropy(_, b, c):
        half = mpmath.exp(c) / 2
        digammas = mpmath.digamma(half + 0.5) - mpmath.digamma(half)
        return b + (half + 0.5) * digammas + c / 2 + mpmath.log(mpmath.beta(half, 0.5))

    check_closed_form("entropy", StudentT, SETTINGS, entropy)


def test_one_degree_of_freedom_is_cauchy_and_many_are_normal():
    z = jnp.linspace(-6.0, 6.0, 41)
    loc, log_scale = jnp.float32(0.3), jnp.float32(-0.2)
    for log_df, other in ((0.0, Cauchy(loc, log_scale)), (18.4, Normal(loc, log_scale))):
        student = StudentT(loc, log_scale, jnp.float32(log_df))
        got, same = jax.vmap(student.log_prob)(z), jax.vmap(other.log_prob)(z)
        np.testing.assert_allclose(got, same, rtol=1e-5, atol=1e-5)


def test_reflected_noise_changes_the_sign_exactly():
    student = StudentT(jnp.zeros(1000), jnp.zeros(1000), jnp.full(1000, 1.0))
    u, v = student.noise.sample(jax.random.key(0))
    transform = jax.jit(student.transform)
    mirrored = transform(jnp.stack([u, student.noise.reflect(v)]))
    np.testing.assert_array_equal(mirrored, -transform(jnp.stack([u, v])))


ENDS = (2.0**-24, 1e-3, 0.5, 1 - 2.0**-24)


@jax.jit
def from_noise(log_df):
    """Samples and their slopes in log_df, from a first variable at its ends and the angle pi/8."""
    noise = jnp.stack([jnp.float32(ENDS), jnp.full(4, 0.125)])
    zeros = jnp.zeros(4)

    def sample(log_df):
        return StudentT(zeros, zeros, log_df).transform(noise)

    return jax.jvp(sample, (jnp.full(4, log_df),), (jnp.ones(4),))


def test_samples_and_their_slopes_are_exact_at_the_ends_of_the_noise():
    def exact(log_df, u):
        df = mpmath.exp(log_df)
        radius = mpmath.sqrt(df * mpmath.expm1(-2 * mpmath.log(u) / df))
        return radius * mpmath.cos(mpmath.pi / 8)

    for log_df in (-1.25, 0.0, 1.0, 5.0, 14.0, 18.5):
        samples, slopes = from_noise(jnp.float32(log_df))
        with mpmath.workdps(60):
            ends = [mpmath.mpf(float(np.float32(u))) for u in ENDS]
            wanted = [float(exact(log_df, u)) for u in ends]
            wanted_slopes = [float(mpmath.diff(lambda c, u=u: exact(c, u), log_df)) for u in ends]
        # The power -1/nu multiplies the rounding of the logarithm by up to 16/nu.
        tolerance = 1e-6 + 4e-6 * np.exp(-log_df)
        np.testing.assert_allclose(samples, wanted, rtol=tolerance)
        np.testing.assert_allclose(slopes, wanted_slopes, rtol=4 * tolerance)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, loc, log_scale, log_df):
        return stats.t.cdf(x, np.exp(log_df), loc, np.exp(log_scale))

    degrees = (-1.2, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 13.8)
    check_kolmogorov_smirnov(StudentT, [(1.0, -0.5, c) for c in degrees], cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(loc, log_scale, log_df):
        return loc**2 - jnp.exp(2 * log_scale) / jnp.expm1(jnp.log(2.0) - log_df)

    settings = [(0.0, 0.0, 2.5), (3.0, -1.0, 3.0), (-2.0, 1.0, 4.0), (0.5, -3.0, 9.0)]
    check_pathwise_gradient(StudentT, settings, expectation, lambda x: x * x, number=number)
