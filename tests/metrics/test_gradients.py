from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest

from jaxvae import Estimate, Example, Params, metrics, objectives

TARGETS = jnp.array([[1.0, 0.0, -2.0], [3.0, 0.5, -1.0], [2.0, 0.1, 0.0], [2.0, -0.6, -1.0]])
EXAMPLES = Example(TARGETS, TARGETS)
SIGMA = jnp.array([0.5, 2.0, 0.0])
THETA = jnp.array([0.5, 1.0, 0.0])


def estimate_of(surrogate):
    """The bound is something else, whose gradient must not be reported."""
    return Estimate(surrogate, 100.0 * surrogate, {})


def quadratic(params, example, *, key):
    """Gradient x - theta + sigma * noise of each example, in the generative half."""
    noise = SIGMA * jax.random.normal(key, (3,))
    theta = params.generative["theta"]
    value = jnp.sum(-0.5 * (example.target - theta) ** 2 + noise * theta)
    return estimate_of(value + 0.0 * params.inference[0])


PARAMS = Params({"theta": THETA}, [jnp.zeros(()), jnp.zeros((2, 2))])
MEAN = np.mean(TARGETS, axis=0) - THETA
# The batch is averaged, and so is its noise.
DEVIATION = np.asarray(SIGMA) / np.sqrt(len(TARGETS))


def report(loss, params, examples=EXAMPLES, *, num_keys, seed=0):
    return metrics.gradient_report(
        loss, params, examples, key=jax.random.key(seed), num_keys=num_keys
    )


def test_the_moments_of_a_quadratic_with_additive_noise_are_those_in_closed_form():
    n = 20_000
    found = report(quadratic, PARAMS, num_keys=n)["generative"]
    total = np.sum(DEVIATION**2)
    spread_of_mean = np.linalg.norm(DEVIATION) / np.sqrt(n)
    assert abs(found.norm - np.linalg.norm(MEAN)) < 4 * spread_of_mean
    spread_of_variance = np.sqrt(2 * np.sum(DEVIATION**4) / n)
    assert abs(found.noise**2 - total) < 4 * spread_of_variance
    # The third parameter has no noise, so the ratio is the mean of the first two.
    ratio = np.abs(MEAN[:2]) / DEVIATION[:2]
    spread_of_ratio = np.sqrt(np.sum((1 + ratio**2 / 2) / n)) / 2
    assert abs(found.signal_to_noise - ratio.mean()) < 4 * spread_of_ratio
    np.testing.assert_allclose(found.varying, 2 / 3, rtol=1e-6)


def test_the_variance_is_unbiased_with_two_keys_and_noise_adds_to_the_norm_as_stated():
    size = 40_000

    def noise_alone(params, example, *, key):
        return estimate_of(jnp.sum(params * jax.random.normal(key, (size,))) + 0.0 * example.target)

    one = Example(jnp.zeros(1), jnp.zeros(1))
    found = report(noise_alone, jnp.zeros(size), one, num_keys=2)["params"]
    np.testing.assert_allclose(found.noise**2, size, rtol=4 * np.sqrt(2 / size))
    np.testing.assert_allclose(found.norm**2, size / 2, rtol=4 * np.sqrt(2 / size))


def test_a_mean_of_zero_shows_the_ratio_that_is_stated():
    size, n = 2000, 50

    def noise_alone(params, example, *, key):
        return estimate_of(jnp.sum(params * jax.random.normal(key, (size,))) + 0.0 * example.target)

    one = Example(jnp.zeros(1), jnp.zeros(1))
    found = report(noise_alone, jnp.zeros(size), one, num_keys=n)["params"]
    np.testing.assert_allclose(found.signal_to_noise, 0.8 / np.sqrt(n), rtol=0.08)


def test_a_large_mean_does_not_drown_the_variance():
    def shifted(params, example, *, key):
        return estimate_of(params * (1e4 + jax.random.normal(key)) + 0.0 * example.target)

    found = report(shifted, jnp.zeros(()), Example(jnp.zeros(1), jnp.zeros(1)), num_keys=5000)
    np.testing.assert_allclose(found["params"].noise, 1.0, rtol=0.05)
    np.testing.assert_allclose(found["params"].signal_to_noise, 1e4, rtol=0.05)


def test_a_loss_without_noise_has_an_exact_norm_and_no_ratio():
    def deterministic(params, example, *, key):
        del key
        return estimate_of(jnp.sum(example.target * params["weights"]) + params["offset"])

    params = {"weights": jnp.ones(3), "offset": jnp.zeros(())}
    found = report(deterministic, params, num_keys=7)
    assert list(found) == ["offset", "weights"]
    np.testing.assert_allclose(found["offset"].norm, 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        found["weights"].norm, np.linalg.norm(np.mean(TARGETS, axis=0)), rtol=1e-6
    )
    for group in found.values():
        assert group.noise == 0.0
        assert group.varying == 0.0
        assert np.isnan(group.signal_to_noise)


def test_groups_are_the_halves_of_the_parameters_and_unused_ones_are_silent():
    found = report(quadratic, PARAMS, num_keys=5)
    assert list(found) == ["generative", "inference"]
    silent = found["inference"]
    assert silent.norm == silent.noise == silent.varying == 0.0
    with_baseline = report(quadratic, PARAMS._replace(auxiliary=jnp.zeros(2)), num_keys=2)
    assert set(with_baseline) == {"generative", "inference", "auxiliary"}
    assert set(
        report(
            lambda params, example, *, key: quadratic(PARAMS, example, key=key),
            [jnp.zeros(()), jnp.zeros(2)],
            num_keys=2,
        )
    ) == {"0", "1"}


def test_a_bound_is_reported_as_its_gradients_say_one_by_one():
    params, examples = ppca.inexact_params(), ppca.examples(6)
    loss = partial(objectives.elbo, ppca.model)
    found = report(loss, params, examples, num_keys=4000)

    @jax.jit
    @jax.vmap
    @partial(jax.grad, argnums=1)
    def gradient(key, params):
        keys = jax.random.split(key, 6)
        each = jax.vmap(lambda example, key: loss(params, example, key=key).surrogate)
        return jnp.mean(each(examples, keys))

    repeated = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4000, *leaf.shape)), params)
    draws = gradient(jax.random.split(jax.random.key(9), 4000), repeated)
    for name in ("generative", "inference"):
        leaves = jax.tree.leaves(getattr(draws, name))
        rows = np.concatenate([np.float64(leaf).reshape(4000, -1) for leaf in leaves], axis=1)
        mean, deviation = rows.mean(axis=0), rows.std(axis=0, ddof=1)
        # Two independent estimates: relative errors of a few times 1/sqrt(4000).
        np.testing.assert_allclose(found[name].norm, np.linalg.norm(mean), rtol=0.05)
        np.testing.assert_allclose(found[name].noise, np.linalg.norm(deviation), rtol=0.05)
        ratio = np.mean(np.abs(mean) / deviation)
        np.testing.assert_allclose(found[name].signal_to_noise, ratio, rtol=0.05)
        assert found[name].varying == 1.0


def test_half_precision_gradients_are_summed_in_full():
    def loss(params, example, *, key):
        noise = jax.random.normal(key).astype(jnp.bfloat16)
        return estimate_of(params * (3.0 + noise) + 0.0 * example.target)

    zero = jnp.zeros((), jnp.bfloat16)
    one = Example(zero[None], zero[None])
    found = report(loss, zero, one, num_keys=5000)["params"]
    assert found.norm.dtype == jnp.float32
    np.testing.assert_allclose(found.norm, 3.0, rtol=0.02)
    np.testing.assert_allclose(found.noise, 1.0, rtol=0.04)


def test_memory_does_not_grow_with_the_number_of_keys():
    def peak(num_keys):
        params = PARAMS._replace(auxiliary=jnp.zeros(10_000))
        lowered = metrics.gradient_report.lower(
            quadratic, params, EXAMPLES, key=jax.random.key(0), num_keys=num_keys
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert peak(10_000) <= peak(10) + 1_000


def test_one_gradient_has_no_spread():
    with pytest.raises(ValueError, match=r"num_keys expected at least 2, .* got 1"):
        report(quadratic, PARAMS, num_keys=1)
