import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE

from jaxvae import Example, metrics
from jaxvae.distributions import Normal


def model_of(posterior, latent_dim):
    """The posterior depends on the inputs alone; the prior is standard Normal."""
    return ppca.model._replace(
        prior=lambda params, context: Normal.standard((latent_dim,)),
        posterior=lambda params, inputs, context: posterior(inputs),
    )


def information_of(model, x, *, seed=0, **sizes):
    return metrics.mutual_information(
        model, ppca.exact_params(), Example(x, x), key=jax.random.key(seed), **sizes
    )


def information(posterior, x, **options):
    return information_of(model_of(posterior, x.shape[1]), x, **options)


def channel(gain, scale):
    return lambda x: Normal(gain * x, jnp.full(x.shape, np.log(scale), x.dtype))


def normal_rows(*shape):
    return jnp.asarray(np.random.default_rng(3).normal(size=shape), jnp.float32)


def test_a_posterior_that_ignores_x_has_no_information_and_its_own_divergence():
    normal = Normal(jnp.array([0.5, -1.0]), jnp.array([-3.0, 0.2]))
    found = information(lambda x: normal, jnp.zeros((4000, 2)))
    np.testing.assert_allclose(found.mutual_information, 0.0, atol=2e-6)
    assert found.standard_error < 2e-6
    scale, mean = np.exp([-3.0, 0.2]), np.array([0.5, -1.0])
    kl = np.sum(0.5 * (scale**2 + mean**2 - 1) - np.log(scale))
    spread = np.sqrt(np.sum((scale**2 - 1) ** 2 / 2 + (mean * scale) ** 2))  # of log q/p
    assert abs(found.marginal_kl - kl) < 4 * spread / np.sqrt(4000)


@pytest.mark.parametrize("size", [1, 2, 300])
def test_posteriors_that_do_not_overlap_tell_their_examples_apart(size):
    found = information(channel(1000.0, 1.0), jnp.arange(float(size))[:, None])
    np.testing.assert_allclose(found.mutual_information, np.log(size), rtol=2e-6)


def test_examples_with_one_posterior_in_common_are_told_apart_by_group_only():
    # Groups of 50, 100 and 150 examples: the entropy of the group.
    x = jnp.repeat(jnp.array([-1000.0, 0.0, 1000.0]), jnp.array([50, 100, 150]))[:, None]
    share = np.array([1, 2, 3]) / 6
    found = information(channel(1.0, 0.3), x, chunk=7, batch=11)
    np.testing.assert_allclose(found.mutual_information, -np.sum(share * np.log(share)), rtol=1e-5)


@pytest.mark.parametrize(("gain", "scale"), [(1.0, 1.0), (0.8, 0.6), (2.0, 0.5)])
def test_a_gaussian_channel_has_its_capacity_and_a_gaussian_mixture(gain, scale):
    found = information(channel(gain, scale), normal_rows(3000, 1))
    exact = 0.5 * np.log(1 + (gain / scale) ** 2)
    # The mixture of N posteriors stands for q(z) to about e^I/N, below 0.002 nats here.
    assert abs(found.mutual_information - exact) < 4 * found.standard_error + 0.002
    assert 0.005 < found.standard_error < 0.02
    variance = gain**2 + scale**2
    marginal = 0.5 * (variance - 1 - np.log(variance))
    assert abs(found.marginal_kl - marginal) < 4 * abs(variance - 1) / np.sqrt(2 * 3000) + 0.01


def test_the_standard_error_is_the_spread_over_keys_and_examples():
    model = model_of(channel(1.0, 1.0), 1)

    def draw(seed):
        x = jnp.asarray(np.random.default_rng(seed).normal(size=(100, 1)), jnp.float32)
        return jax.tree.map(float, information_of(model, x, seed=seed))

    found = [draw(seed) for seed in range(300)]
    spread = np.std([f.mutual_information for f in found])
    np.testing.assert_allclose(np.mean([f.standard_error for f in found]), spread, rtol=0.2)


def test_independent_dimensions_add_up_and_information_and_marginal_make_the_mean_kl():
    scale = jnp.array([0.5, 1.0, 1.0])
    x = normal_rows(3000, 3)
    found = information(lambda x: Normal(x * jnp.array([1.0, 1.0, 0.0]), jnp.log(scale)), x)
    exact = 0.5 * np.log(5.0) + 0.5 * np.log(2.0)
    assert abs(found.mutual_information - exact) < 4 * found.standard_error + 0.005
    total = found.mutual_information + found.marginal_kl
    mean = np.float64(x)[:, :2]
    kl = np.mean(0.5 * (np.array([0.25, 1.0]) + mean**2 - 1) - np.log([0.5, 1.0]), axis=0).sum()
    assert abs(total - kl) < 4 * 1.5 / np.sqrt(3000)


def test_the_exact_posterior_of_the_models_own_draws_mixes_to_the_prior():
    params, examples = ppca.exact_params(), ppca.examples(2000)
    found = metrics.mutual_information(ppca.model, params, examples, key=jax.random.key(0))
    variance = np.exp(2 * np.float64(params.inference.log_scale))
    exact = -0.5 * np.sum(np.log(variance))  # of the posterior against N(0, 1), which is q(z)
    assert abs(found.mutual_information - exact) < 4 * found.standard_error + 0.005
    assert abs(found.marginal_kl) < 0.05


def test_the_context_reaches_prior_and_posterior():
    model = ppca.model._replace(
        prior=lambda params, context: Normal(context, jnp.zeros(1)),
        posterior=lambda params, inputs, context: Normal(inputs + context, jnp.zeros(1)),
    )
    zeros, context = jnp.zeros((300, 1)), 1000.0 * jnp.arange(300.0)[:, None]
    examples = Example(zeros, zeros, context)
    found = metrics.mutual_information(model, ppca.exact_params(), examples, key=jax.random.key(0))
    np.testing.assert_allclose(found.mutual_information, np.log(300), rtol=1e-6)
    # q(z | x, c) = p(z | c): the mean KL is 0.
    np.testing.assert_allclose(found.marginal_kl, -np.log(300), rtol=1e-5)


def test_chunks_and_batches_change_nothing():
    x = normal_rows(101, 2)
    whole = information(channel(2.0, 0.4), x, chunk=101, batch=101)
    for chunk, batch in ((7, 40), (500, 500)):
        parts = information(channel(2.0, 0.4), x, chunk=chunk, batch=batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), parts, whole)


@pytest.mark.parametrize("log_scale", [-30.0, 30.0])
def test_densities_beyond_the_range_of_float32_are_compared_by_their_logarithms(log_scale):
    # Of 100 latents, the densities are about exp(-100 log_scale); five groups of two coincide.
    # float32 has 0.0002 between neighbours at the logarithms that are compared, 3000.
    x = jnp.repeat(jnp.arange(5.0), 2)[:, None] * float(1e4 * np.exp(log_scale))
    posterior = lambda x: Normal(jnp.broadcast_to(x, (100,)), jnp.full(100, log_scale))  # noqa: E731
    found = information_of(model_of(posterior, 100), x)
    np.testing.assert_allclose(found.mutual_information, np.log(5.0), atol=2e-4)


def test_memory_holds_the_posteriors_and_one_block_of_densities():
    def peak(size):
        x = jnp.zeros((size, 50))
        lowered = metrics.mutual_information.lower(
            model_of(lambda x: Normal(x, x), 50),
            ppca.exact_params(),
            Example(x, x),
            key=jax.random.key(0),
        )
        return lowered.compile(compiler_options=RUN_ONCE).memory_analysis().temp_size_in_bytes

    # Mean and log-scale of 50 latents make 400 bytes an example; all pairs would make 40,000.
    assert peak(10_000) - peak(1_000) < 9_000 * 1_000


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="chunk expected a positive integer, got 0"):
        information(channel(1.0, 1.0), normal_rows(3, 1), chunk=0)
    with pytest.raises(ValueError, match="batch expected a positive integer, got -1"):
        information(channel(1.0, 1.0), normal_rows(3, 1), batch=-1)
