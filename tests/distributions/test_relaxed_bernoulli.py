import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as numpyro
import pytest
from oracles import (
    SUM_ROUNDING,
    assert_alike,
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_pathwise_gradient,
    every_size,
)
from scipy import special, stats

from jaxvae.distributions import Bernoulli, Distribution, RelaxedBernoulli

# Logits and log-temperatures; temperatures from 0.01 to 100.
SETTINGS = [
    (0.0, 0.0),
    (0.7, -0.4),
    (-2.0, 0.5),
    (3.0, 2.0),
    (-50.0, 0.0),
    (50.0, 0.3),
    (50.0, 4.6),
    (-50.0, 4.6),
    (0.0, -4.6),
    (1.5, -4.6),
    (-50.0, -4.6),
    (0.3, 4.6),
]
MODERATE = [(0.0, 0.0), (0.7, -0.4), (-2.0, 0.5), (3.0, 2.0), (0.4, -1.0)]

numpyros_log_prob = jax.jit(
    lambda logits, log_temperature, x: numpyro.RelaxedBernoulliLogits(
        jnp.exp(log_temperature), logits
    ).log_prob(x)
)
log_prob_of = jax.jit(lambda relaxed, x: relaxed.log_prob(x))
cdf_and_slope = jax.jit(jax.value_and_grad(lambda x, relaxed: relaxed.cdf(x)))
from_noise = jax.jit(lambda relaxed, noise: relaxed.transform_and_log_prob(noise))
gradients = jax.jit(jax.grad(lambda x, *d: RelaxedBernoulli(*d).log_prob(x), (0, 1, 2)))


def log_density(x, logit, log_temperature):
    if not 0 < x < 1:
        return -mpmath.inf
    return log_density_of_sigmoid(mpmath.log(x / (1 - x)), logit, log_temperature)


def log_density_of_sigmoid(y, logit, log_temperature):
    """At x = 1/(1 + e^-y), which may be nearer to an edge than any number of digits can tell."""
    shifted = mpmath.exp(log_temperature) * y - logit
    # -log x - log(1 - x)
    slope = mpmath.log1p(mpmath.exp(-y)) + mpmath.log1p(mpmath.exp(y))
    tails = mpmath.log1p(mpmath.exp(-shifted)) + mpmath.log1p(mpmath.exp(shifted))
    return log_temperature - tails + slope


def values(logit, log_temperature):
    """The edges, the median and points across the interval."""
    median = special.expit(logit * np.exp(-log_temperature))
    inside = min(max(median, 1e-30), 1 - 1e-7)
    return [-0.5, 0.0, 1.0, 1.5, inside, 1e-37, 1e-9, 0.1, 0.5, 0.62, 0.999, 1 - 2.0**-24]


def test_log_prob_is_exact_from_edge_to_edge():
    check_log_prob(RelaxedBernoulli, SETTINGS, values, log_density)


@pytest.mark.parametrize("setting", MODERATE)
def test_log_prob_is_that_of_numpyro(setting):
    logits, log_temperature = map(jnp.float32, setting)
    for x in map(jnp.float32, (0.01, 0.3, 0.9)):
        got = log_prob_of(RelaxedBernoulli(logits, log_temperature), x)
        exact = numpyros_log_prob(logits, log_temperature, x)
        np.testing.assert_allclose(got, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_gradients_are_those_of_mpmath_and_zero_outside(setting):
    with jax.enable_x64(True), mpmath.workdps(40):
        point = tuple(map(jnp.float64, (0.3, *setting)))
        got = gradients(*point)
        exact = [
            mpmath.diff(log_density, tuple(map(float, point)), n)
            for n in np.eye(3, dtype=int).tolist()
        ]
        np.testing.assert_allclose(got, np.float64(exact), rtol=1e-10, atol=1e-12)
    for outside in (-1.0, 0.0, 1.0, 2.0):
        point = tuple(map(jnp.float32, (outside, *setting)))
        got = gradients(*point)
        np.testing.assert_array_equal(got, np.zeros(3))


@pytest.mark.parametrize("setting", MODERATE)
def test_the_density_is_the_slope_of_the_distribution_function(setting):
    with jax.enable_x64(True):
        relaxed = RelaxedBernoulli(*map(jnp.float64, setting))
        for x in (1e-6, 0.2, 0.5, 0.7):
            _, slope = cdf_and_slope(jnp.float64(x), relaxed)
            density = np.exp(log_prob_of(relaxed, jnp.float64(x)))
            np.testing.assert_allclose(density, slope, rtol=1e-9)
        ends = [float(cdf_and_slope(jnp.float64(x), relaxed)[0]) for x in (-1.0, 0.0, 1.0, 3.0)]
        assert ends == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_density_from_the_noise_is_exact_where_samples_round_to_an_edge(setting, dtype):
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-11
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
        relaxed = RelaxedBernoulli(*[jnp.asarray(p, dtype) for p in setting])
        for u in (2.0**-24, 0.3, 0.5, 0.8, 1 - 2.0**-24):
            x, got = from_noise(relaxed, jnp.asarray(u, dtype))
            assert 0 < float(x) < 1
            logit, log_temperature = (
                mpmath.mpf(float(relaxed.logits)),
                mpmath.mpf(float(relaxed.log_temperature)),
            )
            u = mpmath.mpf(u)
            y = (logit + mpmath.log(u / (1 - u))) * mpmath.exp(-log_temperature)
            exact = float(log_density_of_sigmoid(y, logit, log_temperature))
            assert abs(float(got) - exact) <= tolerance * max(1, abs(exact))


def test_mean_is_exact():
    def exact(logit, log_temperature):
        temperature = mpmath.exp(log_temperature)

        def integrand(s):
            return mpmath.sech(s / 2) ** 2 / 4 / (1 + mpmath.exp(-(logit + s) / temperature))

        cuts = [-logit + k * temperature for k in (-20, -5, 0, 5, 20)] + list(range(-80, 81, 10))
        return mpmath.quad(integrand, sorted(c for c in cuts if abs(c) <= 80))

    with mpmath.workdps(20):
        settings = [s for s in SETTINGS if abs(s[0]) < 50]
        # Absolutely, as a probability: the complement is as exact.
        check_closed_form("mean", RelaxedBernoulli, settings, exact, relative=False)


def each(logits, log_temperature):
    """A variable for each pair, where an event shares one temperature."""
    return jax.vmap(RelaxedBernoulli)(logits, log_temperature)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, logit, log_temperature):
        return special.expit(np.exp(log_temperature) * special.logit(x) - logit)

    check_kolmogorov_smirnov(each, MODERATE, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_mean(number):
    check_pathwise_gradient(each, MODERATE[:3], lambda *a: RelaxedBernoulli(*a).mean, number=number)


@pytest.mark.parametrize("log_temperature", [-4.6, 0.0, 4.6])
def test_hard_samples_are_those_of_the_bernoulli_at_any_temperature(log_temperature):
    bernoulli = Bernoulli(jnp.array([-3.0, -0.5, 0.0, 2.0]))
    relaxed = RelaxedBernoulli.from_bernoulli(bernoulli, jnp.float32(log_temperature))
    keys = jax.random.split(jax.random.key(0), 100_000)
    hard = np.asarray(jax.jit(jax.vmap(lambda k: relaxed.hard(relaxed.sample(k))))(keys))
    assert set(np.unique(hard)) == {0.0, 1.0}
    for count, p in zip(hard.sum(axis=0), np.float64(bernoulli.mean), strict=True):
        assert stats.binomtest(int(count), 100_000, p).pvalue > 1e-3


def test_limits_of_the_temperature():
    logits = jnp.array([-2.0, 0.0, 1.0])
    cold = RelaxedBernoulli(logits, jnp.float32(-12.0))
    np.testing.assert_allclose(cold.mean, Bernoulli(logits).mean, atol=1e-6)
    hot = RelaxedBernoulli(logits, jnp.float32(12.0))
    np.testing.assert_allclose(hot.mean, np.full(3, 0.5), atol=1e-5)
    np.testing.assert_allclose(hot.sample(jax.random.key(0)), np.full(3, 0.5), atol=1e-4)


def test_events_of_any_shape_share_a_temperature(without_type_checks):
    logits = jax.random.normal(jax.random.key(0), (2, 3))
    relaxed = RelaxedBernoulli(logits, jnp.float32(-0.3))
    assert isinstance(relaxed, Distribution)
    assert relaxed.event_shape == (2, 3)
    value, log_prob = relaxed.sample_and_log_prob(jax.random.key(1))
    each = jax.vmap(lambda a, x: RelaxedBernoulli(a, relaxed.log_temperature).log_prob(x))
    np.testing.assert_allclose(
        log_prob, jnp.sum(each(logits.ravel(), value.ravel())), rtol=1e-5, atol=SUM_ROUNDING
    )
    assert_alike(value, relaxed.sample(jax.random.key(1)))
    with pytest.raises(ValueError, match=r"expected one log_temperature .*\(2, 3\)"):
        RelaxedBernoulli(logits, logits)
