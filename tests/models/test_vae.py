import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxvae.distributions import Bernoulli, Normal
from jaxvae.model import Example
from jaxvae.models import unit_normal, vae
from jaxvae.nn import mlp
from jaxvae.objectives import elbo


def small(likelihood=Bernoulli, outputs=4):
    encoder, decoder = mlp((3, 2), (outputs,), hidden=(7,)), mlp((2,), (3, 2), hidden=(5,))
    return (
        vae(encoder=encoder, decoder=decoder, latent_dim=2, likelihood=likelihood),
        encoder,
        decoder,
    )


def test_encoder_and_decoder_fill_in_the_record():
    model, encoder, decoder = small()
    params = model.init(jax.random.key(0))
    x, z = jnp.ones((3, 2)), jnp.array([0.3, -0.7])
    prior, q = model.prior(params, None), model.posterior(params, x, None)
    likelihood = model.likelihood(params, z, None)
    np.testing.assert_array_equal([prior.loc, prior.log_scale], np.zeros((2, 2)))
    output = encoder.apply(params.inference.encoder, x)
    np.testing.assert_array_equal(jnp.concatenate([q.loc, q.log_scale]), output)
    assert isinstance(likelihood, Bernoulli)
    np.testing.assert_array_equal(likelihood.logits, decoder.apply(params.generative, z))
    assert params.auxiliary is None


def test_the_bound_is_that_of_exercise_12_written_out():
    model, encoder, decoder = small()
    params = model.init(jax.random.key(1))
    x = jnp.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.3]])
    got = elbo(model, params, Example(x, x), key=jax.random.key(2))

    m, log_s = np.float64(encoder.apply(params.inference.encoder, x)).reshape(2, 2)
    noise = np.float64(jax.random.normal(jax.random.key(2), (2,)))
    z = jnp.asarray(m + np.exp(log_s) * noise, jnp.float32)
    phi = special.expit(np.float64(decoder.apply(params.generative, z)))
    reconstruction = np.sum(x * np.log(phi) + (1 - x) * np.log(1 - phi))
    divergence = 0.5 * np.sum(np.exp(2 * log_s) + m**2 - 1 - 2 * log_s)
    np.testing.assert_allclose(got.parts["reconstruction"], reconstruction, rtol=1e-5)
    np.testing.assert_allclose(got.parts["kl"], divergence, rtol=1e-4)
    np.testing.assert_allclose(got.bound, reconstruction - divergence, rtol=1e-5)


def test_unit_normal_has_the_decoder_as_mean_and_variance_one():
    model, _, decoder = small(unit_normal)
    params = model.init(jax.random.key(3))
    z, x = jnp.array([0.3, -0.7]), jax.random.normal(jax.random.key(4), (3, 2))
    likelihood = model.likelihood(params, z, None)
    mean = np.float64(decoder.apply(params.generative, z))
    assert isinstance(likelihood, Normal)
    expected = stats.norm.logpdf(np.float64(x), mean, 1.0).sum()
    np.testing.assert_allclose(likelihood.log_prob(x), expected, rtol=1e-6)


def test_the_two_halves_and_different_keys_start_differently():
    encoder = decoder = mlp((2,), (2,), hidden=())
    model = vae(encoder=encoder, decoder=decoder, latent_dim=1)
    first, again, other = (model.init(jax.random.key(seed)) for seed in (5, 5, 6))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernels = [
        tree["layers"][0]["kernel"]
        for params in (first, other)
        for tree in (params.generative, params.inference.encoder)
    ]
    for i in range(4):
        for j in range(i):
            assert np.all(kernels[i] != kernels[j])


def test_an_encoder_of_the_wrong_size_is_refused():
    model, _, _ = small(outputs=5)
    params = model.init(jax.random.key(7))
    with pytest.raises(ValueError, match=r"encoder with 4 outputs .* got shape \(5,\)"):
        model.posterior(params, jnp.ones((3, 2)), None)


def test_a_latent_space_needs_a_dimension():
    with pytest.raises(ValueError, match="latent_dim expected a positive integer, got 0"):
        vae(encoder=mlp((2,), (2,)), decoder=mlp((2,), (2,)), latent_dim=0)


def test_a_context_is_refused_and_not_ignored():
    model, _, _ = small()
    params = model.init(jax.random.key(0))
    example = Example(jnp.ones((3, 2)), jnp.ones((3, 2)), context=jnp.ones(3))
    with pytest.raises(
        ValueError, match="vae expected no context, as none of its parts looks at one"
    ):
        elbo(model, params, example, key=jax.random.key(1))
