import itertools
from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import (
    TOLERANCES,
    assert_near,
    check_chi_squared,
    check_closed_form,
    check_log_prob,
    columns,
    counts_drawn,
    every_size,
    log_prob_and_scores,
    tabulate,
)
from scipy import stats

from jaxvae.distributions import NegativeBinomial, Poisson

MEANS_AND_THETAS = [
    (1e-8, 1e-4),
    (1e-8, 1e6),
    (1e-2, 0.5),
    (1.0, 1.0),
    (3.0, 1e6),
    (10.0, 1e-4),
    (40.0, 2.5),
    (1e3, 30.0),
    (1e4, 1e4),
    (200.0, 0.1),
    (1e5, 0.2),
    (1e6, 1e-4),
    (1e6, 1.0),
    (1e6, 1e6),
]
SETTINGS = [(float(np.log(mu)), float(np.log(theta))) for mu, theta in MEANS_AND_THETAS]
DEVIATIONS = (-30, -8, -4, -2, -1, -0.3, 0, 0.3, 1, 2, 4, 8, 30)
EXTREMES = list(itertools.product((-50.0, -20.0, 0.0, 20.0, 50.0), repeat=2))


def counts(log_mean, log_theta):
    mean = np.exp(log_mean)
    deviation = np.sqrt(mean + np.exp(2 * log_mean - log_theta))
    around = [np.floor(mean + t * deviation) for t in DEVIATIONS]
    far = [0, 1, 2, 3, 10, 137, 1e4, 1e6, 1e7, mean // 2, 2 * mean // 1, mean // 30]
    return np.clip(around + far, 0.0, 1e7)


def log_mass(x, log_mean, log_theta):
    if not mpmath.isfinite(x) or x < 0 or x != mpmath.floor(x):
        return -mpmath.inf
    mean, theta = mpmath.exp(log_mean), mpmath.exp(log_theta)
    binomial = mpmath.loggamma(x + theta) - mpmath.loggamma(theta) - mpmath.loggamma(x + 1)
    by_count = x * (log_mean - mpmath.log(theta + mean))
    return binomial - theta * mpmath.log1p(mean / theta) + by_count


def gradient(x, log_mean, log_theta):
    mean, theta = mpmath.exp(log_mean), mpmath.exp(log_theta)
    by_mean = theta * (x - mean) / (theta + mean)
    digammas = mpmath.digamma(x + theta) - mpmath.digamma(theta)
    return by_mean, theta * (digammas - mpmath.log1p(mean / theta)) - by_mean


def hessian(x, log_mean, log_theta):
    mean, theta = mpmath.exp(log_mean), mpmath.exp(log_theta)
    total = theta + mean
    mixed = theta * mean * (x - mean) / total**2
    trigammas = mpmath.psi(1, x + theta) - mpmath.psi(1, theta)
    rest = 1 / theta - 1 / total + (x - mean) / total**2
    by_theta = gradient(x, log_mean, log_theta)[1] + theta**2 * (trigammas + rest)
    return -theta * mean * (theta + x) / total**2, mixed, mixed, by_theta


def mass(k, log_mean, log_theta):
    theta = np.exp(log_theta)
    return stats.nbinom.pmf(k, theta, 1.0 / (1.0 + np.exp(log_mean - log_theta)))


def check_gradients(settings, values, scale):
    """Scores against mpmath, in units of ``scale(*stored parameters)`` or of their own."""
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(max(60, mpmath.mp.dps)):
            held = np.stack(columns(settings, dtype), axis=1).astype(np.float64).tolist()
            points = [np.asarray(values(*parameters), dtype) for parameters in held]
            table = tabulate(log_prob_and_scores(NegativeBinomial), settings, points, dtype)
            for (_, *got, _), at, parameters in zip(table, points, held, strict=True):
                wanted = [
                    [float(d) for d in gradient(mpmath.mpf(float(x)), *map(mpmath.mpf, parameters))]
                    for x in at
                ]
                unit = np.array(scale(*parameters))
                what = f"{parameters} at {at}"
                assert_near(np.stack(got, -1) / unit, wanted / unit, tolerance, what)


def test_log_prob_is_exact_from_the_mode_into_the_tails():
    check_log_prob(NegativeBinomial, SETTINGS, counts, log_mass)
    outside = [-1.0, 0.5, 2.5, -np.inf, np.inf]
    check_log_prob(NegativeBinomial, SETTINGS, lambda *_: outside, log_mass)


def test_gradients_are_exact():
    # Relative to the score's standard deviation too: a float32 logarithm of a million differs
    # from its neighbours by a whole count.
    def scale(log_mean, log_theta):
        deviation = np.exp(0.5 * (log_mean - np.logaddexp(0.0, log_mean - log_theta)))
        return max(1.0, deviation), 1.0

    check_gradients(SETTINGS, counts, scale)


def test_hessians_are_exact_at_ordinary_parameters():
    settings = itertools.product((-3.0, -1.0, 0.0, 1.5, 3.0, 6.0), (-4.0, 0.0, 2.0, 5.0, 9.0))
    settings, values = list(settings), [0, 1, 2, 7, 30, 400]

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    @partial(jax.vmap, in_axes=(None, 0))
    def hessians(parameters, x):
        rows = jax.hessian(lambda p: NegativeBinomial(*p).log_prob(x))(parameters)
        return jnp.stack([*rows[0], *rows[1]])

    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            parameters = columns(settings, dtype)
            got = np.float64(hessians(parameters, np.asarray(values, dtype)))
            for row, held in zip(got, zip(*parameters, strict=True), strict=True):
                where = [mpmath.mpf(float(p)) for p in held]
                wanted = [[float(d) for d in hessian(mpmath.mpf(x), *where)] for x in values]
                assert_near(row, wanted, tolerance, f"{held}")


def test_every_network_output_is_scored():
    values = [0.0, 1.0, 3.0, 250.0, 1e4]
    # theta + mu takes 44 digits at opposite ends, and so does the difference of digammas.
    check_log_prob(NegativeBinomial, EXTREMES, lambda *_: values, log_mass, digits=120)
    with mpmath.workdps(120):
        check_gradients(EXTREMES, lambda *_: values, lambda *_: np.ones(2))


def test_parameters_beyond_the_range_are_its_end():
    x = jnp.array([0.0, 7.0])
    scored = jax.jit(jax.value_and_grad(lambda p: NegativeBinomial(*p).log_prob(x)))
    for signs in itertools.product((-1.0, 1.0), repeat=2):
        beyond, end = [tuple(jnp.full(2, size * sign) for sign in signs) for size in (1e4, 60.0)]
        value, slopes = scored(beyond)
        assert np.isfinite(value)
        assert value == scored(end)[0]
        np.testing.assert_array_equal(slopes, scored(end)[1])


def test_it_is_poisson_as_the_inverse_dispersion_grows():
    log_mean = jnp.log(jnp.array([1e-3, 0.5, 6.0, 1e3, 1e5]))
    x = jnp.array([1.0, 0.0, 9.0, 950.0, 100_400.0])
    limit = NegativeBinomial(log_mean, jnp.full(5, 50.0))
    np.testing.assert_allclose(
        limit.log_prob_by_factor(x), Poisson(log_mean).log_prob_by_factor(x), 2e-6
    )
    np.testing.assert_array_equal(limit.variance, limit.mean)


def test_with_inverse_dispersion_one_it_is_geometric():
    mean = jnp.array([0.1, 1.0, 5.0, 70.0])
    x = jnp.array([0, 3, 2, 100])
    got = NegativeBinomial.from_mean(mean, jnp.ones(4)).log_prob_by_factor(x)
    np.testing.assert_allclose(got, stats.geom.logpmf(x + 1, 1 / (1 + np.float64(mean))), 1e-5)


def test_masses_sum_to_one():
    x = jnp.arange(20_000)
    mass_of = jax.jit(jax.vmap(lambda d, x: jnp.exp(d.log_prob(x)), (None, 0)))
    for parameters in ((-3.0, -2.0), (0.0, 1.0), (4.0, -0.5), (6.0, 8.0)):
        distribution = NegativeBinomial(*map(jnp.array, parameters))
        assert abs(float(jnp.sum(mass_of(distribution, x))) - 1.0) < 1e-5


@every_size
def test_scores_of_samples_average_to_zero(number):
    differentiate = jax.jit(jax.grad(lambda p, x: NegativeBinomial(*p).log_prob(x)))
    settings = [(-1.0, 0.5), (2.0, -1.0), (5.0, 3.0), (12.0, 6.0)]
    samples = counts_drawn(NegativeBinomial, settings, number, seed=1)
    for parameters, sample in zip(settings, samples, strict=True):
        scores = differentiate(columns([parameters], np.float32, number), np.float32(sample))
        for score in map(np.float64, scores):
            assert abs(score.mean()) < 4 * score.std() / np.sqrt(number)


def test_moments_and_mode_are_their_closed_forms():
    check_closed_form("mean", NegativeBinomial, SETTINGS, lambda a, b: mpmath.exp(a))
    check_closed_form(
        "variance",
        NegativeBinomial,
        SETTINGS,
        lambda a, b: mpmath.exp(a) + mpmath.exp(2 * a - b),
    )
    log_probs = jax.jit(jax.vmap(lambda d, x: d.log_prob(x), (None, 0)))
    x = jnp.arange(400.0)
    for mean, theta in ((0.3, 2.0), (17.2, 0.4), (17.2, 3.0), (300.7, 1e4)):
        distribution = NegativeBinomial.from_mean(jnp.array(mean), jnp.array(theta))
        assert int(distribution.mode) == int(jnp.argmax(log_probs(distribution, x)))


@every_size
def test_samples_pass_chi_squared(number):
    # The oracle tabulates every count between the smallest and the largest.
    settings = [(a, b) for a, b in SETTINGS if a + np.logaddexp(0.0, a - b) < np.log(1e7)]
    assert len(settings) >= 10
    check_chi_squared(NegativeBinomial, settings, mass, number=number)


def test_another_shape_of_the_dispersion_is_refused(without_type_checks):
    with pytest.raises(ValueError, match=r"log_inverse_dispersion \(3,\).*broadcast_to"):
        NegativeBinomial(jnp.zeros((2, 3)), jnp.zeros(3))
