import itertools

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
    every_size,
    log_prob_and_scores,
    tabulate,
)
from scipy import special, stats

from jaxvae.distributions import NegativeBinomial, Normal, Poisson, ZeroInflated

# log-mean, log-inverse-dispersion, logits of the extra zero
SETTINGS = [
    (-18.0, -9.0, 0.0),
    (-3.0, 0.0, -50.0),
    (-1.0, 1.0, -4.0),
    (0.0, -2.0, 50.0),
    (0.5, 10.0, 3.0),
    (1.0, 0.0, 0.0),
    (2.0, -1.0, -1.0),
    (3.0, 2.0, 1.0),
    (6.0, 0.5, -0.3),
    (9.0, 4.0, -8.0),
    (13.8, 13.8, 0.7),
]
COUNTS = [-1.0, 0.5, 0.0, 1.0, 2.0, 7.0, 20.0, 400.0, 8000.0, 1e6, 1e7]


def zinb(log_mean, log_theta, logits):
    return ZeroInflated(NegativeBinomial(log_mean, log_theta), logits)


def zip_(log_rate, logits):
    return ZeroInflated(Poisson(log_rate), logits)


def base_mass(x, log_mean, log_theta):
    mean, theta = mpmath.exp(log_mean), mpmath.exp(log_theta)
    binomial = mpmath.loggamma(x + theta) - mpmath.loggamma(theta) - mpmath.loggamma(x + 1)
    by_count = x * (log_mean - mpmath.log(theta + mean))
    return mpmath.exp(binomial - theta * mpmath.log1p(mean / theta) + by_count)


def log_mass(x, log_mean, log_theta, logits):
    if not mpmath.isfinite(x) or x < 0 or x != mpmath.floor(x):
        return -mpmath.inf
    extra = 1 / (1 + mpmath.exp(-logits))
    mass = (1 - extra) * base_mass(x, log_mean, log_theta)
    return mpmath.log(mass + extra if x == 0 else mass)


def test_log_prob_is_exact_at_zero_and_elsewhere():
    check_log_prob(zinb, SETTINGS, lambda *_: COUNTS, log_mass)

    def log_mass_over_poisson(x, log_rate, logits):
        return log_mass(x, log_rate, mpmath.mpf(200), logits)

    settings = [(a, logits) for a, _, logits in SETTINGS]
    check_log_prob(zip_, settings, lambda *_: COUNTS, log_mass_over_poisson, digits=200)


def test_gradients_are_exact():
    counts, settings = [0.0, 1.0, 7.0, 400.0], SETTINGS[1:-1]
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(40):
            points = [np.asarray(counts, dtype)] * len(settings)
            table = tabulate(log_prob_and_scores(zinb), settings, points, dtype)
            held = zip(*columns(settings, dtype), strict=True)
            for (_, *got, _), parameters in zip(table, held, strict=True):
                where = [mpmath.mpf(float(p)) for p in parameters]
                for which, slopes in enumerate(got):
                    order = tuple(int(i == which) for i in range(3))
                    exact = [
                        float(mpmath.diff(lambda *p, x=x: log_mass(x, *p), where, order))
                        for x in counts
                    ]
                    assert_near(slopes, exact, tolerance, f"{parameters}, parameter {which}")


def test_every_network_output_is_scored():
    extremes = list(itertools.product((-50.0, 50.0), (-50.0, 50.0), (-50.0, 0.0, 50.0)))
    counts = [0.0, 1.0, 1e4]
    check_log_prob(zinb, extremes, lambda *_: counts, log_mass, digits=120)
    points = [np.float32(counts)] * len(extremes)
    ours = tabulate(log_prob_and_scores(zinb), extremes, points, np.float32)
    base = [parameters[:2] for parameters in extremes]
    bases = tabulate(log_prob_and_scores(NegativeBinomial), base, points, np.float32)
    for got, wanted, parameters in zip(ours, bases, extremes, strict=True):
        assert np.all(np.isfinite(got[1:]))
        # Beyond zero the mass is that of the base times 1 - pi.
        for slopes, exact in zip(got[1:3], wanted[1:3], strict=True):
            np.testing.assert_allclose(slopes[1:], exact[1:], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(got[3][1:], np.full(2, -special.expit(parameters[2])), 1e-6)


def test_outside_the_support_no_gradient_flows():
    distribution = zinb(*map(jnp.array, SETTINGS[5]))
    slopes = jax.grad(lambda d: d.log_prob(jnp.array(-1.0)))(distribution.base)
    assert jax.tree.leaves(slopes) == [0.0, 0.0]


def test_without_extra_zeros_it_is_its_base():
    base = NegativeBinomial(jnp.array([0.0, 3.0]), jnp.array([1.0, -1.0]))
    x = jnp.array([0, 4])
    never = ZeroInflated(base, jnp.full(2, -100.0))
    np.testing.assert_array_equal(never.log_prob_by_factor(x), base.log_prob_by_factor(x))
    np.testing.assert_array_equal(never.mean, base.mean)
    np.testing.assert_array_equal(never.variance, base.variance)


def test_moments_and_mode_are_those_of_the_masses():
    def mean(log_mean, log_theta, logits):
        return mpmath.exp(log_mean) / (1 + mpmath.exp(logits))

    def variance(log_mean, log_theta, logits):
        second = mpmath.exp(log_mean) + mpmath.exp(2 * log_mean) * (1 + mpmath.exp(-log_theta))
        first = mean(log_mean, log_theta, logits)
        return second / (1 + mpmath.exp(logits)) - first**2

    check_closed_form("mean", zinb, SETTINGS, mean)
    check_closed_form("variance", zinb, SETTINGS, variance)
    log_probs = jax.jit(jax.vmap(lambda d, x: d.log_prob(x), (None, 0)))
    x = jnp.arange(3000.0)
    for parameters in SETTINGS[:9]:
        distribution = zinb(*map(jnp.array, parameters))
        assert int(distribution.mode) == int(jnp.argmax(log_probs(distribution, x)))


@every_size
def test_samples_pass_chi_squared(number):
    def mass(k, log_mean, log_theta, logits):
        extra = 1 / (1 + np.exp(-logits))
        base = stats.nbinom.pmf(k, np.exp(log_theta), 1 / (1 + np.exp(log_mean - log_theta)))
        return (1 - extra) * base + extra * (k == 0)

    def mass_over_poisson(k, log_rate, logits):
        return mass(k, log_rate, 30.0, logits)

    check_chi_squared(zinb, SETTINGS[:-1], mass, number=number)
    check_chi_squared(zip_, [(1.0, 0.5), (3.0, -2.0)], mass_over_poisson, number=number)


def test_logits_of_another_shape_are_refused(without_type_checks):
    with pytest.raises(ValueError, match=r"ZeroInflated expected .* base \(2,\), logits \(3,\)"):
        ZeroInflated(Poisson(jnp.zeros(2)), jnp.zeros(3))


def test_a_base_with_a_density_is_refused(without_type_checks):
    with pytest.raises(ValueError, match=r"Poisson or NegativeBinomial, got Normal"):
        ZeroInflated(Normal.standard((2,)), jnp.zeros(2))
