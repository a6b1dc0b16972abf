import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest
from scipy.special import logsumexp

from jaxvae import objectives
from jaxvae.model import Example, Params, log_weight

THETA = ppca.generative(jax.random.key(0))
EXACT = Params(THETA, ppca.exact_inference(THETA))
INEXACT = Params(THETA, ppca.inexact_inference(THETA))
X = jnp.array([0.3, -2.0, 1.1, 0.4, -0.9])
EVIDENCE = ppca.exact_log_evidence(THETA, X)


def log_weights(params, size, seed=1):
    def weight(key):
        return log_weight(ppca.model, params, Example(X, X), key=key)

    return jax.jit(jax.vmap(weight))(jax.random.split(jax.random.key(seed), size))


def standard_error(samples):
    return np.std(samples) / np.sqrt(len(samples))


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    np.testing.assert_allclose(log_weights(EXACT, 1000), np.full(1000, EVIDENCE), rtol=3e-6)


def test_the_mean_weight_is_the_evidence_whatever_the_posterior():
    ratios = np.exp(np.float64(log_weights(INEXACT, 100_000)) - EVIDENCE)
    assert np.std(ratios) > 0.1
    assert abs(np.mean(ratios) - 1) < 4 * standard_error(ratios)


def test_the_bound_rises_with_the_number_of_weights_and_never_passes_the_evidence():
    weights = np.float64(log_weights(INEXACT, 2**18)).reshape(-1, 64)
    means, errors = [], []
    for k in (1, 2, 4, 16, 64):  # the same weights grouped otherwise, so that steps are paired
        bounds = logsumexp(weights.reshape(len(weights), -1, k), axis=-1) - np.log(k)
        grouped = bounds.mean(axis=1)
        means.append(grouped.mean())
        errors.append(standard_error(grouped))
    assert np.all(np.diff(means) > 0)
    assert np.all(np.array(means) < EVIDENCE + 4 * np.array(errors))
    assert EVIDENCE - means[0] > 10 * (EVIDENCE - means[-1])


def test_a_log_weight_is_the_bound_with_the_monte_carlo_divergence():
    for seed in range(5):
        example = Example(X, X)
        weight = log_weight(ppca.model, INEXACT, example, key=jax.random.key(seed))
        estimate = objectives.elbo(
            ppca.model,
            INEXACT,
            example,
            key=jax.random.key(seed),
            kl=objectives.monte_carlo,
        )
        np.testing.assert_allclose(weight, estimate.bound, rtol=1e-6)


def test_the_posterior_sees_inputs_the_likelihood_scores_the_target_and_all_get_the_context():
    seen = {}

    def spy(name):
        def function(params, *arguments):
            seen[name] = arguments[-1]
            return getattr(ppca.model, name)(params, *arguments)

        return function

    names = ("prior", "likelihood", "posterior")
    model = ppca.model._replace(**{name: spy(name) for name in names})
    example = Example(X, X + 1, "context")
    got = log_weight(model, EXACT, example, key=jax.random.key(2))
    assert seen == dict.fromkeys(names, "context")
    q = ppca.model.posterior(EXACT, X, None)
    z, log_q = q.sample_and_log_prob(jax.random.key(2))
    log_prior = ppca.model.prior(EXACT, None).log_prob(z)
    likelihood = ppca.model.likelihood(EXACT, z, None)
    np.testing.assert_allclose(got, log_prior + likelihood.log_prob(X + 1) - log_q, rtol=1e-6)


@pytest.mark.parametrize(
    ("record", "field"), [(Params(1, 2), "auxiliary"), (Example(1, 2), "context")]
)
def test_what_few_models_need_is_absent_by_default(record, field):
    assert getattr(record, field) is None
    assert jax.tree.leaves(record) == [1, 2]
