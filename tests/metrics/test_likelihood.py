import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE

from jaxvae import Example, log_weight, metrics
from jaxvae.distributions import Normal, Uniform


def estimate(params, number=40, **sizes):
    return metrics.importance_log_likelihood(
        ppca.model, params, ppca.examples(number), key=jax.random.key(0), **sizes
    )


def test_the_exact_posterior_gives_the_evidence_from_one_sample_and_equal_weights():
    found = estimate(ppca.exact_params(), num_samples=7)
    x = ppca.examples(40).target
    np.testing.assert_allclose(
        found.log_likelihood,
        ppca.exact_log_evidence(ppca.exact_params().generative, x),
        rtol=1e-5,
        atol=1e-4,
    )
    np.testing.assert_allclose(found.effective_sample_size, 7.0, rtol=1e-4)
    np.testing.assert_allclose(found.largest_weight, 1 / 7, rtol=1e-4)


def test_an_inexact_posterior_rises_to_the_evidence_with_the_number_of_samples():
    params = ppca.inexact_params()
    evidence = ppca.exact_log_evidence(params.generative, ppca.examples(400).target).mean()
    found = [
        float(jnp.mean(estimate(params, 400, num_samples=k).log_likelihood))
        for k in (1, 10, 100, 5000)
    ]
    assert found == sorted(found)
    assert found[0] < evidence - 0.5
    assert abs(found[-1] - evidence) < 0.02


def test_chunks_and_batches_change_nothing():
    params = ppca.inexact_params()
    whole = estimate(params, 11, num_samples=50, chunk=50, batch=11)
    for chunk, batch in ((7, 4), (64, 100)):
        parts = estimate(params, 11, num_samples=50, chunk=chunk, batch=batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), parts, whole)


def test_the_diagnostics_are_those_of_the_weights_themselves():
    params = ppca.inexact_params()
    found = estimate(params, 3, num_samples=20, chunk=6)
    rows = ppca.examples(3)
    for row, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        example = jax.tree.map(lambda leaf, row=row: leaf[row], rows)
        weights = np.exp(
            [
                float(
                    log_weight(
                        ppca.model,
                        params,
                        example,
                        key=jax.random.fold_in(key, k),
                    )
                )
                for k in range(20)
            ]
        )
        np.testing.assert_allclose(found.log_likelihood[row], np.log(weights.mean()), rtol=1e-4)
        np.testing.assert_allclose(
            found.effective_sample_size[row], weights.sum() ** 2 / (weights**2).sum(), rtol=1e-4
        )
        np.testing.assert_allclose(
            found.largest_weight[row], weights.max() / weights.sum(), rtol=1e-4
        )


def test_memory_does_not_grow_with_samples_or_examples():
    def peak(number, num_samples):
        lowered = metrics.importance_log_likelihood.lower(
            ppca.model,
            ppca.exact_params(),
            ppca.examples(number),
            key=jax.random.key(0),
            num_samples=num_samples,
        )
        return lowered.compile(compiler_options=RUN_ONCE).memory_analysis().temp_size_in_bytes

    small = peak(100, 100)
    # A hundred times the samples may add nothing; more examples only their own key and result.
    assert peak(1_000, 10_000) < small + 100_000 + 1_000 * 200


@pytest.mark.parametrize("log_evidence", [-1e3, -2e4, -2e5])
def test_equal_weights_give_their_own_value_however_small_and_many(log_evidence):
    def likelihood(params, z, context):
        # Undoes prior and posterior, which are equal, so that every weight is the same.
        return Normal(jnp.zeros(1), jnp.full(1, -0.5 * np.log(2 * np.pi) - log_evidence))

    standard = Normal.standard((1,))
    model = ppca.model._replace(
        prior=lambda params, context: standard,
        posterior=lambda params, inputs, context: standard,
        likelihood=likelihood,
    )
    found = metrics.importance_log_likelihood(
        model,
        ppca.exact_params(),
        Example(jnp.zeros((1, 1)), jnp.zeros((1, 1))),
        key=jax.random.key(0),
        num_samples=20_000,
        chunk=7,
    )
    np.testing.assert_allclose(found.log_likelihood, log_evidence, rtol=3e-7)
    np.testing.assert_allclose(found.effective_sample_size, 20_000, rtol=1e-3)
    np.testing.assert_allclose(found.largest_weight, 1 / 20_000, rtol=1e-3)


@pytest.mark.parametrize("chunk", [1, 4, 64, 512])
def test_samples_without_weight_count_and_do_no_harm(chunk):
    # Outside of the prior's support a weight is zero: nearly all, some and all of them.
    prior = Uniform(jnp.full(1, -20.0), jnp.zeros(1))
    model = ppca.model._replace(
        prior=lambda params, context: prior,
        posterior=lambda params, inputs, context: Normal(inputs, jnp.zeros(1)),
        likelihood=lambda params, z, context: Normal(z, jnp.zeros(1)),
    )
    centres = jnp.array([[-17.0], [-19.5], [0.0]])
    found = metrics.importance_log_likelihood(
        model,
        ppca.exact_params(),
        Example(centres, centres),
        key=jax.random.key(0),
        num_samples=512,
        chunk=chunk,
    )
    for row, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(512))
        q = Normal(centres[row], jnp.zeros(1))
        inside = np.asarray(
            jax.vmap(lambda k, q=q: jnp.isfinite(prior.log_prob(q.sample(k))))(keys)
        )
        # Likelihood and posterior are equal, so every weight is 0 or 1.
        with np.errstate(divide="ignore"):
            expected = np.log(inside.mean())
        np.testing.assert_allclose(found.log_likelihood[row], expected, rtol=1e-5)
        size, largest = (inside.sum(), 1 / inside.sum()) if inside.any() else (np.nan, np.nan)
        np.testing.assert_allclose(found.effective_sample_size[row], size, rtol=1e-5)
        np.testing.assert_allclose(found.largest_weight[row], largest, rtol=1e-5)
    assert 0 < jnp.exp(found.log_likelihood[0]) < 0.1


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="num_samples expected a positive integer, got 0"):
        estimate(ppca.exact_params(), num_samples=0)
