import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest

from jaxvae import metrics
from jaxvae.distributions import Normal
from jaxvae.metrics import predictive


def exact(params, x):
    """Mean and covariance of fresh values given x, row by row."""
    weights, offset, log_noise = map(np.float64, params.generative)
    posterior = ppca.exact_inference(params.generative)
    back, _, log_scale = map(np.float64, posterior)
    spread = weights * np.exp(2.0 * log_scale) @ weights.T
    noise = np.exp(2.0 * log_noise) * np.eye(len(weights))
    return (x - offset) @ back.T @ weights.T + offset, spread + noise


def predict(params, number=6, **options):
    examples = ppca.examples(number)
    found = metrics.posterior_predictive(
        ppca.model, params, examples, key=jax.random.key(3), **options
    )
    return found, exact(params, np.asarray(examples.target, float))


def wider(posterior):
    return Normal(posterior.mean, posterior.log_scale + np.float32(np.log(2.0)))


@pytest.mark.parametrize("proposal", [None, wider])
def test_an_inexact_posterior_predicts_as_the_exact_one(proposal):
    options = {} if proposal is None else {"proposal": proposal}
    found, (mean, covariance) = predict(
        ppca.inexact_params(), num_samples=20_000, num_draws=20_000, **options
    )
    # The weights' share of the error is that of the effective sample.
    error = 4 * np.sqrt(np.diag(covariance) / np.asarray(found.effective_sample_size)[:, None])
    assert (np.abs(found.mean - mean) < error).all()
    assert (np.abs(found.draws.mean(1) - mean) < 2 * error).all()
    for row in range(len(mean)):
        got = np.cov(np.asarray(found.draws[row], float).T)
        size = float(found.effective_sample_size[row])
        scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        np.testing.assert_allclose(got, covariance, atol=6 * np.sqrt(2 / size) * scale.max())
        without_noise = np.cov(np.asarray(found.means[row], float).T)
        noise = np.diag(covariance - without_noise)
        np.testing.assert_allclose(noise, np.exp(2 * -0.4), rtol=0.15)


def test_one_sample_of_the_exact_posterior_is_its_decoded_draw():
    params = ppca.exact_params()
    found, _ = predict(params, num_samples=1, num_draws=1)
    np.testing.assert_allclose(found.effective_sample_size, 1.0)
    np.testing.assert_array_equal(found.means[:, 0], found.mean)
    assert np.abs(found.draws[:, 0] - found.mean).min() > 0


def test_weights_of_the_exact_posterior_are_equal():
    found, _ = predict(ppca.exact_params(), num_samples=50)
    np.testing.assert_allclose(found.effective_sample_size, 50, rtol=1e-3)


def test_what_is_predicted_may_have_a_context_of_its_own():
    """A context that turns the signs: known values in one, predictions in the other."""

    def turned_by(sign, q):
        return Normal(sign * q.mean, q.log_scale)

    def prior(params, sign):
        return turned_by(sign, Normal(jnp.ones(2), jnp.zeros(2)))

    def likelihood(params, latent, sign):
        return turned_by(sign, ppca.model.likelihood(params, latent, None))

    def posterior(params, inputs, sign):
        return turned_by(sign, ppca.model.posterior(params, inputs, None))

    model = ppca.model._replace(prior=prior, likelihood=likelihood, posterior=posterior)
    examples = ppca.examples(4)._replace(context=jnp.ones(4))

    def found(contexts):
        return metrics.posterior_predictive(
            model, ppca.inexact_params(), examples, contexts, key=jax.random.key(3)
        )

    same, turned = found(None), found(-jnp.ones(4))
    np.testing.assert_allclose(turned.mean, -same.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(turned.effective_sample_size, same.effective_sample_size)


def test_the_number_of_examples_at_a_time_changes_nothing():
    params = ppca.inexact_params()
    one, _ = predict(params, num_samples=9, num_draws=5)
    all_at_once, _ = predict(params, num_samples=9, num_draws=5, batch=6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, all_at_once)


def test_draws_are_shared_out_in_proportion_to_the_weights():
    weights = jnp.array([0.0, 0.31, 0.07, 0.52, 0.1, 0.0])
    choose = jax.jit(jax.vmap(lambda key: predictive._systematic(weights, 10, key)))
    chosen = np.asarray(choose(jax.random.split(jax.random.key(0), 4000)))
    counts = (chosen[:, :, None] == np.arange(6)).sum(1)
    assert np.abs(counts - 10 * np.asarray(weights)).max() < 1
    np.testing.assert_allclose(counts.mean(0), 10 * weights, atol=4 * 0.5 / np.sqrt(4000))
    assert not counts[:, [0, 5]].any()


@pytest.mark.parametrize("offset", [0.0, 1.0 - 2**-24])
def test_a_weight_of_zero_is_never_chosen(monkeypatch, offset):
    monkeypatch.setattr(jax.random, "uniform", lambda key, dtype: jnp.asarray(offset, dtype))
    weights = jnp.array([0.0, 0.5, 0.5, 0.0])
    assert set(np.asarray(predictive._systematic(weights, 4, jax.random.key(0))).tolist()) == {1, 2}


@pytest.mark.parametrize("value", [1e30, np.nan])
def test_where_no_sample_has_weight_nothing_is_predicted(value):
    examples = jax.tree.map(lambda x: x.at[0].set(value), ppca.examples(2))
    found = metrics.posterior_predictive(
        ppca.model, ppca.inexact_params(), examples, key=jax.random.key(3), num_samples=8
    )
    for leaf in found:
        assert np.isnan(leaf[0]).all()
        assert np.isfinite(leaf[1]).all()


@pytest.mark.parametrize("count", [3, 5])
def test_examples_and_contexts_are_as_many(count):
    params, key = ppca.exact_params(), jax.random.key(0)
    with pytest.raises(ValueError, match=f"one number of examples .* got {min(count, 4)} and"):
        metrics.posterior_predictive(ppca.model, params, ppca.examples(4), jnp.ones(count), key=key)
    apart = ppca.examples(4)._replace(target=ppca.examples(count).target)
    with pytest.raises(ValueError, match="importance_log_likelihood expected one number"):
        metrics.importance_log_likelihood(
            ppca.model, params, apart, key=jax.random.key(1), num_samples=2
        )


@pytest.mark.parametrize("name", ["num_samples", "num_draws", "batch"])
def test_sizes_are_positive(name):
    with pytest.raises(ValueError, match=f"{name} expected a positive integer, got 0"):
        predict(ppca.exact_params(), **{name: 0})
