import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from posterior_families import FAMILIES

from jaxvae import Example, Trained, metrics, models, nn, objectives, recipe
from jaxvae.distributions import (
    LowRankNormal,
    MultivariateNormal,
    Normal,
    Transformed,
    batch_axes,
    representative,
)
from jaxvae.models import (
    coupling,
    diagonal,
    full_covariance,
    inverse_autoregressive,
    low_rank,
    planar,
    radial,
    vae,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def image_model(family, latent_dim=3):
    return vae(
        encoder=nn.mlp((2, 3), (family.num_outputs(latent_dim),), hidden=(7,)),
        decoder=nn.mlp((latent_dim,), (2, 3), hidden=(7,)),
        latent_dim=latent_dim,
        posterior=family,
    )


X = jax.random.uniform(jax.random.key(8), (5, 2, 3))


@every_family
def test_codes_of_a_batch_are_those_of_each_example_and_weights_are_held_once(family):
    model = image_model(family)
    params = model.init(jax.random.key(0))
    trained = Trained(model, params)
    codes, seen = trained.encode(X), trained.reconstruct(X)
    one = model.posterior(params, X[0], None)
    axes = jax.tree.leaves(batch_axes(one), is_leaf=lambda axis: axis is None)
    sizes = [leaf.size for leaf in jax.tree.leaves(one)]
    shared = sum(n for n, axis in zip(sizes, axes, strict=True) if axis is None)
    assert shared == sum(leaf.size for leaf in jax.tree.leaves(params.inference.posterior))
    held = sum(leaf.size for leaf in jax.tree.leaves(codes))
    assert held == shared + len(X) * (sum(sizes) - shared)
    means = metrics.posterior_means(model, params, Example(X, X))
    for x, image, mean in zip(X, seen, means, strict=True):
        point = representative(model.posterior(params, x, None))
        np.testing.assert_allclose(mean, point, rtol=1e-5, atol=1e-6)
        expected = model.likelihood(params, point, None).mean
        np.testing.assert_allclose(image, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        *("diagonal", "inverse autoregressive", "planar"),
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("full covariance", "coupling")),
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("low rank", "radial")),
    ],
)
def test_mutual_information_of_identical_posteriors_is_zero(name):
    model = image_model(FAMILIES[name])
    params = model.init(jax.random.key(0))
    same = jnp.broadcast_to(X[0], X.shape)
    ask = partial(metrics.mutual_information, model, params, key=jax.random.key(0))
    if name == "planar":
        with pytest.raises(ValueError, match="a flow with an inverse, got Planar"):
            ask(Example(same, same))
        return
    assert abs(ask(Example(same, same), batch=2, chunk=3).mutual_information) < 1e-5


def test_a_flow_has_no_kl_by_dimension_and_no_analytic_bound():
    model = image_model(FAMILIES["coupling"])
    params = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"KL\(Transformed \|\| Normal\) has no closed form"):
        metrics.kl_per_dimension(model, params, Example(X, X))
    with pytest.raises(ValueError, match=r"kl=objectives\.monte_carlo in a bound"):
        objectives.elbo(model, params, Example(X[0], X[0]), key=jax.random.key(0))


def outputs_of(family, latent_dim):
    return jnp.arange(1.0, family.num_outputs(latent_dim) + 1) / 10


def test_the_outputs_become_the_parameters_as_documented():
    normal = diagonal().build(None, outputs_of(diagonal(), 3), 3)
    np.testing.assert_allclose(normal.loc, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(normal.log_scale, [0.4, 0.5, 0.6])
    full = full_covariance().build(None, outputs_of(full_covariance(), 3), 3)
    assert isinstance(full, MultivariateNormal)
    relative = np.linalg.inv(np.diag(np.exp([0.4, 0.5, 0.6]))) @ np.asarray(full.cholesky)
    below = np.array([[0, 0, 0], [0.7, 0, 0], [0.8, 0.9, 0]]) / 24
    np.testing.assert_allclose(relative, np.eye(3) + below, rtol=1e-5, atol=1e-6)
    low = low_rank(2).build(None, outputs_of(low_rank(2), 3), 3)
    assert isinstance(low, LowRankNormal)
    rows = np.array([[0.7, 0.8], [0.9, 1.0], [1.1, 1.2]]) / np.sqrt(2)
    np.testing.assert_allclose(low.factor, np.exp([[0.4], [0.5], [0.6]]) * rows, rtol=1e-5)


@pytest.mark.parametrize("family", [full_covariance(), low_rank(32)])
def test_variances_at_the_start_do_not_grow_with_the_number_of_latents(family):
    """Outputs of variance v below the diagonal add at most v to a relative variance of 1."""
    outputs = jax.random.normal(jax.random.key(0), (family.num_outputs(128),)).at[:256].set(0.0)
    variance = np.asarray(family.build(None, outputs, 128).variance)
    assert np.all((variance >= 1) & (variance < 4))


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_fresh_flows_keep_the_order_and_start_at_the_identity(blocks):
    for factory in (inverse_autoregressive, coupling):
        family = factory(blocks, hidden=(8,), context=2)
        outputs = outputs_of(family, 3)
        q = family.build(family.init(jax.random.key(0), 3), outputs, 3)
        assert isinstance(q, Transformed)
        np.testing.assert_allclose(representative(q), outputs[:3], rtol=1e-6)


def test_zero_outputs_make_amortised_flows_the_identity():
    for family in (planar(3), radial(3)):
        q = family.build(None, jnp.zeros(family.num_outputs(4)), 4)
        z, log_q = q.sample_and_log_prob(jax.random.key(0))
        np.testing.assert_allclose(Normal.standard((4,)).log_prob(z), log_q, rtol=1e-5)


def test_an_encoder_of_another_size_is_told_the_right_one():
    family = full_covariance()
    model = vae(
        encoder=nn.mlp((2,), (8,)), decoder=nn.mlp((4,), (2,)), latent_dim=4, posterior=family
    )
    with pytest.raises(ValueError, match=r"encoder with 14 outputs .* got shape \(8,\)"):
        model.posterior(model.init(jax.random.key(0)), jnp.ones(2), None)


@pytest.mark.parametrize("factory", [low_rank, planar, radial, inverse_autoregressive, coupling])
def test_sizes_are_positive(factory):
    with pytest.raises(ValueError, match="expected a positive integer, got 0"):
        factory(0)


def test_a_context_has_no_negative_length():
    with pytest.raises(ValueError, match="context expected an integer from 0 on, got -1"):
        coupling(context=-1)


def test_a_recipe_with_a_flow_survives_json():
    flow = partial(models.inverse_autoregressive, blocks=2, hidden=(8, 8), context=3)
    described = partial(
        models.vae,
        encoder=partial(nn.mlp, (4, 3), (recipe.build(flow).num_outputs(2),)),
        decoder=partial(nn.mlp, (2,), (4, 3)),
        latent_dim=2,
        posterior=flow,
    )
    again = recipe.from_json(json.loads(json.dumps(recipe.to_json(described))))
    x = jnp.linspace(0.0, 1.0, 12).reshape(4, 3)
    first, second = (
        model.posterior(model.init(jax.random.key(0)), x, None)
        for model in map(recipe.build, (described, again))
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("family", [models.inverse_autoregressive, models.coupling])
def test_the_length_of_a_context_is_an_integer(family):
    with pytest.raises(ValueError, match=r"context expected an integer from 0 on, got 1.5"):
        family(context=1.5)
