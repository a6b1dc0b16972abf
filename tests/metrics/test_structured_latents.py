"""What a batch of codes and the metrics give for latents of each structure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import Example, LatentVariableModel, Params, metrics
from jaxvae.distributions import (
    Categorical,
    Joint,
    Mixture,
    MultivariateNormal,
    Normal,
    Product,
    kl_divergence,
    representative,
)
from jaxvae.training import Trained


def components(x):
    return Normal(jnp.stack([x, -2.0 * x, x + 1.0]), jnp.stack([x, 0.0 * x, -x]))


POSTERIORS = {
    "joint": lambda x: Joint(Categorical(jnp.append(x, 0.5)), components(x)),
    "mixture": lambda x: Mixture(Categorical(jnp.append(x, 0.5)), components(x)),
    "product": lambda x: Product((Normal(x, -x), Categorical(jnp.append(x, 0.5)))),
    "dense": lambda x: MultivariateNormal(x, 0.1 * x, x[:1]),
}
X = jnp.array([[0.3, -1.0], [1.2, 0.4], [-0.7, 0.0], [0.1, 2.0]])


def model_of(posterior):
    """A latent of any structure is decoded to the sum of its numbers."""

    def likelihood(params, latent, context):
        del params, context
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(latent))
        return Normal(jnp.full(2, total), jnp.zeros(2))

    return LatentVariableModel(
        init=lambda key: Params(None, None),
        prior=lambda params, context: posterior(jnp.zeros(2)),
        likelihood=likelihood,
        posterior=lambda params, inputs, context: posterior(inputs),
    )


def assert_rows(found, expected):
    """Each row of a tree is that of one example, to a few roundings of numbers of order one."""
    for row, one in enumerate(expected):
        jax.tree.map(
            lambda a, b, row=row: np.testing.assert_allclose(a[row], b, atol=2e-6), found, one
        )


@pytest.mark.parametrize("name", POSTERIORS)
def test_codes_and_metrics_of_a_batch_are_those_of_each_example(name):
    posterior = POSTERIORS[name]
    model = model_of(posterior)
    trained, singles = Trained(model, Params(None, None)), [posterior(x) for x in X]
    codes, examples = trained.encode(X), Example(X, X)
    means = [representative(q) for q in singles]
    assert_rows(codes.mean, [q.mean for q in singles])
    assert_rows(trained.latents(X), means)
    assert_rows(metrics.posterior_means(model, trained.params, examples), means)
    decoded = [model.likelihood(None, z, None).mean for z in means]
    assert_rows(trained.reconstruct(X), decoded)
    draws = codes.sample(jax.random.key(0))
    of_row = [jax.tree.map(lambda leaf, row=row: leaf[row], draws) for row in range(len(X))]
    scores = [q.log_prob(z) for q, z in zip(singles, of_row, strict=True)]
    np.testing.assert_allclose(codes.log_prob(draws), scores, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, codes[2].mean, codes[np.array([2, 0])][0].mean)


@pytest.mark.parametrize(("name", "factors"), [("joint", ()), ("dense", ()), ("product", (3,))])
def test_dimensions_that_depend_on_one_another_have_one_divergence(name, factors):
    # Two coordinates of a Normal and a label are three factors of a product.
    model = model_of(POSTERIORS[name])
    found = metrics.kl_per_dimension(model, Params(None, None), Example(X, X))
    prior = model.prior(None, None)
    whole = [kl_divergence(POSTERIORS[name](x), prior) for x in X]
    assert found.shape == factors
    np.testing.assert_allclose(jnp.sum(found), np.mean(whole), rtol=1e-5)


def test_a_divergence_without_a_closed_form_is_refused():
    model = model_of(POSTERIORS["mixture"])
    with pytest.raises(ValueError, match="has no closed form here"):
        metrics.kl_per_dimension(model, Params(None, None), Example(X, X))
