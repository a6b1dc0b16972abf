import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linear_gaussian
from jaxvae import log_weight, metrics



def estimate(model, number=40, **sizes):
    params = model.init(jax.random.key(0))
    return metrics.importance_log_likelihood(
        model, params, linear_gaussian.examples(number), key=jax.random.key(0), **sizes
    )


def test_the_exact_posterior_gives_the_evidence_from_one_sample_and_equal_weights():
    found = estimate(linear_gaussian.model(), num_samples=7)
    x = linear_gaussian.examples(40).target
    np.testing.assert_allclose(
        found.log_likelihood, linear_gaussian.exact().evidence(x), rtol=1e-5, atol=1e-4
    )
    np.testing.assert_allclose(found.effective_sample_size, 7.0, rtol=1e-4)
    np.testing.assert_allclose(found.largest_weight, 1 / 7, rtol=1e-4)


def test_an_inexact_posterior_rises_to_the_evidence_with_the_number_of_samples():
    model = linear_gaussian.model(posterior_shift=0.5, posterior_stretch=0.3)
    evidence = linear_gaussian.exact().evidence(linear_gaussian.examples(400).target).mean()
    found = [
        float(jnp.mean(estimate(model, 400, num_samples=k).log_likelihood)) for k in (1, 10, 100, 5000)
    ]
    assert found == sorted(found)
    assert found[0] < evidence - 0.5
    assert abs(found[-1] - evidence) < 0.02


def test_chunks_and_batches_change_nothing():
    model = linear_gaussian.model(posterior_shift=0.5)
    whole = estimate(model, 11, num_samples=50, chunk=50, batch=11)
    for chunk, batch in ((1, 1), (7, 4), (64, 100)):
        parts = estimate(model, 11, num_samples=50, chunk=chunk, batch=batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), parts, whole)


def test_the_diagnostics_are_those_of_the_weights_themselves():
    model = linear_gaussian.model(posterior_shift=1.0)
    found = estimate(model, 3, num_samples=20, chunk=6)
    rows = linear_gaussian.examples(3)
    for row, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        example = jax.tree.map(lambda leaf, row=row: leaf[row], rows)
        weights = np.exp(
            [
                float(log_weight(model, model.init(jax.random.key(0)), example, key=jax.random.fold_in(key, k)))
                for k in range(20)
            ]
        )
        np.testing.assert_allclose(found.log_likelihood[row], np.log(weights.mean()), rtol=1e-4)
        np.testing.assert_allclose(
            found.effective_sample_size[row], weights.sum() ** 2 / (weights**2).sum(), rtol=1e-4
        )
        np.testing.assert_allclose(found.largest_weight[row], weights.max() / weights.sum(), rtol=1e-4)


def test_memory_does_not_grow_with_samples_or_examples():
    def peak(number, num_samples):
        model = linear_gaussian.model()
        lowered = metrics.importance_log_likelihood.lower(
            model,
            model.init(jax.random.key(0)),
            linear_gaussian.examples(number),
            key=jax.random.key(0),
            num_samples=num_samples,
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    small = peak(100, 100)
    # A hundred times the samples may add nothing; more examples only their own key and result.
    assert peak(100, 10_000) < small + 100_000
    assert peak(1_000, 100) < small + 1_000 * 200


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="num_samples expected a positive integer, got 0"):
        estimate(linear_gaussian.model(), num_samples=0)
