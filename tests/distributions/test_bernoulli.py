from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
from jax.test_util import check_grads
from scipy import special, stats

from jaxvae.distributions import Bernoulli
from jaxvae.distributions.discrete.bernoulli import _log1p_unit

ORDINARY = np.float32([-8.0, -2.5, -0.3, 0.0, 1e-4, 0.7, 3.0, 15.0])
EXTREME = np.float32([-1e4, -105.0, -90.0, -40.0, 40.0, 90.0, 105.0, 1e4])
LOGITS = np.concatenate([ORDINARY, EXTREME])


def exact_log_prob(value, logit):
    value, logit = np.float64(value), np.float64(logit)
    return -value * np.logaddexp(0, -logit) - (1 - value) * np.logaddexp(0, logit)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_log_prob_is_that_of_float64(value):
    got = jax.vmap(lambda logit: Bernoulli(logit).log_prob(jnp.float32(value)))(LOGITS)
    # Below 1e-37 float32 has no normal numbers left, and the exact answer is 0 to rounding.
    exact = exact_log_prob(np.float32(value), LOGITS)
    np.testing.assert_allclose(got, exact, rtol=5e-7, atol=1e-37)


@pytest.mark.parametrize("value", [0, 1])
def test_log_prob_is_that_of_scipy_and_numpyro(value):
    got = jax.vmap(lambda logit: Bernoulli(logit).log_prob(jnp.int32(value)))(ORDINARY)
    reference = stats.bernoulli.logpmf(value, special.expit(np.float64(ORDINARY)))
    np.testing.assert_allclose(got, reference, rtol=1e-6)
    oracle = numpyro.BernoulliLogits(jnp.asarray(ORDINARY))
    with jax.numpy_dtype_promotion("standard"):  # numpyro mixes floats with booleans
        expected = oracle.log_prob(jnp.full(8, float(value)))
    # numpyro rounds log(1 + small) to 0.
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [105.0, 1e4])
def test_log_prob_is_exact_where_the_probability_rounds_to_zero_or_one(size):
    for logit, value, exact in [(size, 1, 0), (-size, 0, 0), (size, 0, -size), (-size, 1, -size)]:
        assert float(Bernoulli(jnp.float32(logit)).log_prob(jnp.float32(value))) == exact


def test_log1p_is_accurate_to_three_ulp_over_the_unit_interval():
    x = np.concatenate([np.linspace(0, 1, 100_001), np.logspace(-37, 0, 10_001)]).astype(np.float32)
    exact = np.log1p(np.float64(x))
    error = np.abs(np.float64(_log1p_unit(jnp.asarray(x))) - exact)
    assert np.max(error / np.spacing(exact.astype(np.float32))) < 3
    assert float(_log1p_unit(jnp.float32(0.0))) == 0.0


def test_log1p_and_log_prob_are_exact_in_float64():
    with jax.enable_x64(True):
        x = np.concatenate([np.linspace(0, 1, 10_001), np.logspace(-300, 0, 10_001)])
        np.testing.assert_allclose(_log1p_unit(jnp.asarray(x)), np.log1p(x), rtol=1e-15)
        logits = np.float64(LOGITS)
        got = Bernoulli(jnp.asarray(logits)).log_prob_by_factor(jnp.ones(len(logits)))
        np.testing.assert_allclose(got, -np.logaddexp(0, -logits), rtol=1e-14)


def test_gradient_is_the_residual_and_curvature_minus_the_variance():
    def log_prob(logit, value):
        return Bernoulli(logit).log_prob(value)

    exact = np.float64(LOGITS)
    for value in np.float32([0.0, 1.0, 0.3]):
        values = np.full_like(LOGITS, value)
        first = jax.vmap(jax.grad(log_prob))(LOGITS, values)
        # x - phi loses the digits of phi next to 1 to cancellation: the tolerance is absolute.
        np.testing.assert_allclose(first, value - special.expit(exact), rtol=1e-6, atol=1e-7)
        second = jax.vmap(jax.grad(jax.grad(log_prob)))(LOGITS, values)
        variance = special.expit(exact) * special.expit(-exact)
        np.testing.assert_allclose(second, -variance, rtol=1e-6, atol=1e-7)
        wrt_value = jax.vmap(jax.grad(log_prob, argnums=1))(LOGITS, values)
        np.testing.assert_array_equal(wrt_value, LOGITS)


def test_derivatives_given_by_hand_are_those_of_finite_differences():
    logits = jnp.array([[-2.0, 0.4], [1.3, 3.0]])
    # Inside: beside the unit interval, where finite differences would look, there is no mass.
    value = jnp.array([[0.1, 0.9], [0.3, 0.8]])

    def log_prob(logits, value):
        return Bernoulli(jnp.asarray(logits)).log_prob(jnp.asarray(value))

    check_grads(log_prob, (logits, value), order=2, rtol=2e-2)


def test_mean_and_entropy_are_those_of_scipy_and_numpyro():
    exact = np.float64(LOGITS)
    bernoulli = Bernoulli(jnp.asarray(LOGITS))
    np.testing.assert_allclose(bernoulli.mean, special.expit(exact), rtol=1e-6, atol=1e-37)
    size = np.abs(exact)
    entropy = np.log1p(np.exp(-size)) + size * special.expit(-size)
    got = jax.vmap(lambda logit: Bernoulli(logit).entropy())(LOGITS)
    np.testing.assert_allclose(got, entropy, rtol=1e-6, atol=1e-35)
    scipy_entropy = stats.bernoulli.entropy(special.expit(np.float64(ORDINARY)))
    np.testing.assert_allclose(got[:8], scipy_entropy, rtol=1e-6)
    oracle = numpyro.BernoulliLogits(jnp.asarray(ORDINARY))
    np.testing.assert_allclose(got[:8], oracle.entropy(), rtol=1e-5, atol=1e-6)


def test_gradient_of_the_entropy_is_minus_logit_times_variance():
    gradient = jax.vmap(jax.grad(lambda logit: Bernoulli(logit).entropy()))(LOGITS)
    exact = np.float64(LOGITS)
    variance = special.expit(exact) * special.expit(-exact)
    np.testing.assert_allclose(gradient, -exact * variance, rtol=2e-6, atol=1e-6)


def test_probabilities_of_all_events_sum_to_one():
    bernoulli = Bernoulli(jnp.array([[-3.0, 0.2], [1e4, 4.0]]))
    events = jnp.array(list(product([0.0, 1.0], repeat=4))).reshape(-1, 2, 2)
    total = np.exp(np.float64(jax.vmap(bernoulli.log_prob)(events))).sum()
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_samples_pass_chi_squared():
    bernoulli = Bernoulli(jnp.array([-1.5, 0.0, 0.8]))
    samples = jax.vmap(bernoulli.sample)(jax.random.split(jax.random.key(0), 20_000))
    cells = np.asarray(samples, int) @ [
        4,
        2,
        1,
    ]  # of the joint distribution, so that independence is tested too
    events = jnp.array(list(product([0.0, 1.0], repeat=3)))
    expected = 20_000 * np.exp(np.float64(jax.vmap(bernoulli.log_prob)(events)))
    counts = np.bincount(cells, minlength=8)
    assert stats.chisquare(counts, expected * 20_000 / expected.sum()).pvalue > 1e-3


def test_certain_samples_are_certain():
    bernoulli = Bernoulli(jnp.array([1e4, -1e4]))
    samples = jax.vmap(bernoulli.sample)(jax.random.split(jax.random.key(1), 100))
    np.testing.assert_array_equal(samples, np.tile([1.0, 0.0], (100, 1)))


def test_mode_is_the_more_probable_value():
    np.testing.assert_array_equal(Bernoulli(jnp.array([-0.1, 0.1, 1e4])).mode, [0.0, 1.0, 1.0])


def test_rare_events_are_rare_in_half_precision():
    distribution = Bernoulli(jnp.full(1_000_000, np.log(0.001), jnp.bfloat16))
    sample = distribution.sample(jax.random.key(0))
    assert sample.dtype == jnp.bfloat16
    probability = special.expit(np.float64(distribution.logits[0]))
    error = np.mean(np.float64(sample)) - probability
    assert abs(error) < 4 * np.sqrt(probability / 1_000_000)
