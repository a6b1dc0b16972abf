"""A new model is a choice of parts: each of these is written in this file alone.

A Gaussian-mixture VAE, a Markov chain as prior, and counts with a batch and a library size.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxvae import Example, fit, metrics, models, nn, objectives
from jaxvae.distributions import (
    Categorical,
    Joint,
    Mixture,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    kl_divergence,
)
from jaxvae.training import Trained

pytestmark = pytest.mark.usefixtures("quick_compilation")

K, D, PIXELS = 3, 1, 4
X = jnp.linspace(-1.0, 1.5, 5 * PIXELS).reshape(5, PIXELS)


def mixture_prior(components: int) -> models.PriorFamily:
    """A label k with learnt odds, and z given k with learnt mean and scale."""

    def init(key, latent_dim):
        shape = (components, latent_dim)
        locs = 2.0 * jax.random.normal(key, shape)
        return {"logits": jnp.zeros(components), "locs": locs, "log_scales": jnp.zeros(shape)}

    def build(params, context, latent_dim):
        del context, latent_dim
        return Joint(Categorical(params["logits"]), Normal(params["locs"], params["log_scales"]))

    return models.PriorFamily(init, build)


def mixture_posterior(components: int) -> models.PosteriorFamily:
    """q(k | x) q(z | k, x): logits, then mean and log-scale for each label."""

    def build(params, outputs, latent_dim):
        del params
        logits, rest = jnp.split(outputs, [components])
        locs, log_scales = rest.reshape(2, components, latent_dim)
        return Joint(Categorical(logits), Normal(locs, log_scales))

    def num_outputs(latent_dim):
        return components * (1 + 2 * latent_dim)

    return models.PosteriorFamily(num_outputs, lambda key, latent_dim: None, build)


def of_the_value(network: nn.Network) -> nn.Network:
    """A decoder that sees z and not the label: x depends on k by z alone."""
    return nn.Network(network.init, lambda params, latent: network.apply(params, latent[1]))


def gmvae():
    posterior = mixture_posterior(K)
    return models.vae(
        encoder=nn.mlp((PIXELS,), (posterior.num_outputs(D),), hidden=(8,)),
        decoder=of_the_value(nn.mlp((D,), (PIXELS,), hidden=(8,))),
        latent_dim=D,
        likelihood=models.normal(shape=()),
        prior=mixture_prior(K),
        posterior=posterior,
    )


MIXTURE = gmvae()
MIXTURE_PARAMS = MIXTURE.init(jax.random.key(1))
EXAMPLES = Example(X, X)


def test_the_bound_of_a_gmvae_is_its_quadrature_over_labels_and_z():
    params, x = MIXTURE_PARAMS, X[2]
    q, p = MIXTURE.posterior(params, x, None), MIXTURE.prior(params, None)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    exact = 0.0
    for k in range(K):
        label = jnp.eye(K)[k]
        component = q.given(label)
        z = np.asarray(component.loc) + np.asarray(component.scale) * nodes[:, None]
        z = jnp.asarray(z, jnp.float32)

        def weight(z, label=label):
            reconstruction = MIXTURE.likelihood(params, (label, z), None).log_prob(x)
            return reconstruction + p.log_prob((label, z)) - q.log_prob((label, z))

        exact += np.exp(np.float64(q.label.log_prob(label))) * (weights @ jax.vmap(weight)(z))

    @jax.jit
    def estimates(keys):
        def one(key):
            options = {
                "key": key,
                "gradient": objectives.by_factor(objectives.enumerated, objectives.pathwise),
                "kl": objectives.monte_carlo,
            }
            return objectives.elbo(MIXTURE, params, Example(x, x), **options).bound

        return jax.vmap(one)(keys)

    drawn = np.float64(estimates(jax.random.split(jax.random.key(3), 4096)))
    error = drawn.std() / np.sqrt(len(drawn))
    assert abs(drawn.mean() - exact) < 4 * error
    assert error < 0.05


def test_codes_of_a_joint_posterior_have_the_moments_of_each_example():
    trained = Trained(MIXTURE, MIXTURE_PARAMS)
    codes = trained.encode(X)
    assert len(codes) == len(X)
    one = MIXTURE.posterior(MIXTURE_PARAMS, X[3], None)
    for found, expected in zip(jax.tree.leaves(codes.mean), jax.tree.leaves(one.mean), strict=True):
        np.testing.assert_allclose(found[3], expected, atol=1e-5)
    probabilities, z = trained.latents(X)
    assert (probabilities.shape, z.shape) == ((5, K), (5, D))
    np.testing.assert_allclose(probabilities.sum(1), 1.0, atol=1e-6)
    mixture_mean = np.asarray(one.label.mean) @ np.asarray(one.components.mean)
    np.testing.assert_allclose(z[3], mixture_mean, atol=1e-5)
    label, value = codes[3].sample(jax.random.key(0))
    np.testing.assert_allclose(
        codes[3].log_prob((label, value)), one.log_prob((label, value)), atol=1e-5
    )
    drawn = codes.sample(jax.random.key(1))
    assert codes.log_prob(drawn).shape == (5,)
    images = trained.reconstruct(X)
    decoded = MIXTURE.likelihood(MIXTURE_PARAMS, (probabilities[3], z[3]), None).mean
    np.testing.assert_allclose(images[3], decoded, atol=1e-5)
    assert trained.sample(7, key=jax.random.key(2)).shape == (7, PIXELS)


def test_metrics_of_a_joint_latent_have_its_structure():
    probabilities, z = metrics.posterior_means(MIXTURE, MIXTURE_PARAMS, EXAMPLES)
    assert (probabilities.shape, z.shape) == ((5, K), (5, D))
    labels, values = metrics.active_units((probabilities, z))
    assert labels == metrics.active_units(probabilities)
    assert values == metrics.active_units(z)
    whole = metrics.kl_per_dimension(MIXTURE, MIXTURE_PARAMS, EXAMPLES)
    prior = MIXTURE.prior(MIXTURE_PARAMS, None)
    codes = Trained(MIXTURE, MIXTURE_PARAMS).encode(X)
    np.testing.assert_allclose(
        whole, codes.map(lambda q: kl_divergence(q, prior)).mean(), rtol=1e-4
    )
    information = metrics.mutual_information(
        MIXTURE, MIXTURE_PARAMS, EXAMPLES, key=jax.random.key(0)
    )
    assert 0.0 <= information.mutual_information <= np.log(5) + 1e-5
    weights = metrics.importance_log_likelihood(
        MIXTURE, MIXTURE_PARAMS, EXAMPLES, key=jax.random.key(1), num_samples=64
    )
    assert weights.log_likelihood.shape == (5,)


def with_vamp_prior(model, pseudo_inputs):
    r"""The prior becomes $\frac1K\sum_k q(z \mid u_k)$: a function of a model, as it needs q."""

    def prior(params, context):
        components = jax.vmap(lambda u: model.posterior(params, u, context))(pseudo_inputs)
        return Mixture(Categorical(jnp.zeros(len(pseudo_inputs))), components)

    return model._replace(prior=prior)


def test_a_vamp_prior_is_a_function_of_a_model():
    plain = models.vae(
        encoder=nn.mlp((PIXELS,), (4,)),
        decoder=nn.mlp((2,), (PIXELS,)),
        latent_dim=2,
        likelihood=models.normal(shape=()),
    )
    model, params = with_vamp_prior(plain, X[:3]), plain.init(jax.random.key(4))
    z = jnp.array([0.2, -0.3])
    densities = [model.posterior(params, u, None).log_prob(z) for u in X[:3]]
    mixture = np.logaddexp.reduce(np.float64(densities)) - np.log(3)
    np.testing.assert_allclose(model.prior(params, None).log_prob(z), mixture, rtol=1e-5)
    drawn = Trained(model, params).sample(6, key=jax.random.key(5))
    assert drawn.shape == (6, PIXELS)
    with pytest.raises(ValueError, match="has no closed form here"):
        metrics.kl_per_dimension(model, params, EXAMPLES)


def markov_prior(length: int) -> models.PriorFamily:
    r"""$z_1 \sim N(0, 1)$, $z_t \sim N(a z_{t-1}, 1 - a^2)$, as one Normal of all times."""

    def build(params, context, latent_dim):
        del context, latent_dim
        a = jnp.tanh(params["a"])
        steps = jnp.abs(jnp.arange(length)[:, None] - jnp.arange(length)[None])
        cholesky = jnp.linalg.cholesky(a ** steps.astype(a.dtype))
        rows, columns = np.tril_indices(length, -1)
        log_scale = jnp.log(jnp.diagonal(cholesky))
        return MultivariateNormal(jnp.zeros(length), log_scale, cholesky[rows, columns])

    return models.PriorFamily(lambda key, latent_dim: {"a": jnp.float32(0.8)}, build)


def test_a_markov_chain_is_a_prior_of_the_vae():
    length = 6
    model = models.vae(
        encoder=nn.mlp((length,), (2 * length,), hidden=()),
        decoder=nn.mlp((length,), (length,), hidden=()),
        latent_dim=length,
        likelihood=models.normal(0.5),
        prior=markov_prior(length),
    )
    params = model.init(jax.random.key(0))
    z = np.random.default_rng(0).normal(size=length)
    a = np.tanh(0.8)
    chain = stats.norm.logpdf(z[0]) + stats.norm.logpdf(z[1:], a * z[:-1], np.sqrt(1 - a**2)).sum()
    np.testing.assert_allclose(model.prior(params, None).log_prob(jnp.float32(z)), chain, rtol=1e-4)
    x = jnp.ones(length)
    slope = jax.grad(
        lambda p: objectives.elbo(model, p, Example(x, x), key=jax.random.key(1)).surrogate
    )(params)
    assert slope.generative.prior["a"] != 0.0


class Annotated:
    """What a table of cells looks like: counts, and columns of annotations."""

    def __init__(self, counts: np.ndarray, obs: dict[str, Any]):
        self.X, self.obs = counts, obs


def examples_of(cells: Annotated) -> Example:
    """Logarithms are encoded, counts are scored, given the batch and the library size."""
    counts = np.asarray(cells.X, np.float32)
    names, codes = np.unique(cells.obs["batch"], return_inverse=True)
    context = {
        "batch": np.eye(len(names), dtype=np.float32)[codes],
        "log_library": np.log(counts.sum(1, keepdims=True)),
    }
    return Example(np.log1p(counts), counts, context)


def count_likelihood(genes: int) -> models.LikelihoodFamily:
    """NB with mean library size times softmax, and a learnt dispersion for each gene."""

    def build(params, outputs, context):
        log_mean = jax.nn.log_softmax(outputs) + context["log_library"]
        log_count = params["log_dispersion"]
        return NegativeBinomial(log_mean, log_count)

    return models.LikelihoodFamily(
        lambda shape: shape,
        lambda key: {"log_dispersion": jnp.full(genes, 0.5)},
        build,
        conditional=True,
    )


def test_counts_with_a_batch_and_a_library_size_are_a_choice_of_parts():
    genes = 5
    draw = np.random.default_rng(0)
    batch = np.where(draw.random(40) < 0.5, "one", "two")
    cells = Annotated(draw.poisson(3.0, (40, genes)) + 1, {"batch": batch})
    model = models.vae(
        encoder=nn.mlp((genes,), (4,), hidden=(8,)),
        decoder=nn.conditional(
            nn.mlp((2 + 2,), (genes,), hidden=(8,)),
            nn.Join(
                lambda key: None,
                lambda params, z, c: jnp.concatenate([z, c["batch"]]),
            ),
        ),
        latent_dim=2,
        likelihood=count_likelihood(genes),
    )
    examples = examples_of(cells)
    params = model.init(jax.random.key(0))
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), examples)
    likelihood = model.likelihood(params, jnp.zeros(2), first.context)
    np.testing.assert_allclose(likelihood.mean.sum(), first.target.sum(), rtol=1e-4)
    size = np.exp(0.5)
    mean = np.float64(likelihood.mean)
    expected = stats.nbinom.logpmf(first.target, size, size / (size + mean)).sum()
    np.testing.assert_allclose(likelihood.log_prob(first.target), expected, rtol=1e-4)
    result = fit(
        partial(objectives.elbo, model),
        model.init,
        examples,
        key=jax.random.key(1),
        num_steps=40,
        batch_size=20,
        optimiser=optax.adam(1e-2),
        log_every=20,
        progress=False,
    )
    assert result.history[-1]["bound"] > result.history[0]["bound"]
    assert np.any(result.params.generative.likelihood["log_dispersion"] != 0.5)
