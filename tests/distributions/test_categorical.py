import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
from scipy import special, stats

from jaxvae.distributions import Bernoulli, Categorical

LOGITS = {
    "ordinary": [0.3, -1.2, 2.0],
    "uniform": [5.0, 5.0, 5.0],
    "single": [3.0],
    "far apart": [-105.0, 0.0, 105.0],
    "extreme": [1e4, -1e4, 0.0],
    "shifted": [1e4, 1e4 + 2, 1e4 - 1],
}


@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
def test_log_prob_mean_and_entropy_are_those_of_scipy_and_numpyro(logits):
    categorical = Categorical(jnp.asarray(logits, jnp.float32))
    exact = special.log_softmax(np.float64(logits))
    events = jnp.eye(len(logits))
    got = jax.vmap(categorical.log_prob)(events)
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(categorical.mean, np.exp(exact), rtol=1e-6, atol=1e-37)
    entropy = stats.entropy(np.exp(exact))
    np.testing.assert_allclose(categorical.entropy(), entropy, rtol=1e-6, atol=1e-37)
    # numpyro cancels the common size of the logits.
    oracle = numpyro.MultinomialLogits(categorical.logits, total_count=1)
    cancelled = 5e-7 * np.max(np.abs(logits))
    expected = [oracle.log_prob(event) for event in events]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=cancelled)


def test_log_prob_is_exact_at_extreme_logits():
    categorical = Categorical(jnp.array([1e4, -1e4, 0.0]))
    log_probs = jax.vmap(categorical.log_prob)(jnp.eye(3))
    np.testing.assert_array_equal(log_probs, [0.0, -2e4, -1e4])


@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
def test_gradient_is_the_residual_and_hessian_minus_the_covariance(logits):
    logits = jnp.asarray(logits, jnp.float32)
    probs = special.softmax(np.float64(logits))
    covariance = np.diag(probs) - np.outer(probs, probs)
    for event in jnp.eye(len(logits)):

        def log_prob(logits, event=event):
            return Categorical(logits).log_prob(event)

        np.testing.assert_allclose(jax.grad(log_prob)(logits), event - probs, atol=2e-7)
        np.testing.assert_allclose(jax.hessian(log_prob)(logits), -covariance, atol=2e-7)


@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
def test_probabilities_of_all_events_sum_to_one(logits):
    categorical = Categorical(jnp.asarray(logits, jnp.float32))
    log_probs = jax.vmap(categorical.log_prob)(jnp.eye(len(logits)))
    np.testing.assert_allclose(np.exp(np.float64(log_probs)).sum(), 1.0, rtol=1e-6)


def test_axes_before_the_last_are_independent_factors():
    logits = jax.random.normal(jax.random.key(0), (2, 3))
    categorical = Categorical(logits)
    log_pi = special.log_softmax(np.float64(logits), axis=-1)
    total = 0.0
    for i in range(3):
        for j in range(3):
            event = jnp.stack([jnp.eye(3)[i], jnp.eye(3)[j]])
            got = categorical.log_prob(event)
            np.testing.assert_allclose(got, log_pi[0, i] + log_pi[1, j], rtol=1e-6)
            total += np.exp(np.float64(got))
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    np.testing.assert_allclose(categorical.entropy(), -(np.exp(log_pi) * log_pi).sum(), rtol=1e-6)


def test_samples_pass_chi_squared():
    categorical = Categorical(jnp.array([[0.3, -1.2, 1.0], [0.0, 0.0, 2.0]]))
    samples = jax.vmap(categorical.sample)(jax.random.split(jax.random.key(1), 20_000))
    np.testing.assert_array_equal(np.sort(samples, axis=-1), np.tile([0, 0, 1.0], (20_000, 2, 1)))
    cells = np.argmax(np.asarray(samples), axis=-1) @ [
        3,
        1,
    ]  # of the joint distribution: the factors are independent
    expected = 20_000 * np.outer(*np.float64(categorical.mean)).ravel()
    counts = np.bincount(cells, minlength=9)
    assert stats.chisquare(counts, expected * 20_000 / expected.sum()).pvalue > 1e-3


def test_mode_is_the_most_probable_event():
    categorical = Categorical(jnp.array([[0.3, -1.2, 1.0], [9.0, 0.0, 2.0]]))
    np.testing.assert_array_equal(categorical.mode, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("logit", [-1e4, -3.0, 0.0, 0.5, 20.0])
def test_two_categories_are_a_bernoulli(logit):
    pair, single = Categorical(jnp.array([logit, 0.0])), Bernoulli(jnp.float32(logit))
    for value in (0.0, 1.0):
        got = pair.log_prob(jnp.array([value, 1 - value]))
        np.testing.assert_allclose(got, single.log_prob(jnp.float32(value)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(pair.entropy(), single.entropy(), rtol=1e-5, atol=1e-7)


def test_a_single_logit_is_sent_to_bernoulli():
    with pytest.raises(ValueError, match="scalar; use Bernoulli"):
        Categorical(jnp.float32(0.0))
