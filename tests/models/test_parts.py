"""Likelihoods, priors and contexts are parts: what each sees, and what it learns."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae import Grid, models, nn, recipe
from jaxvae.distributions import Bernoulli, Normal
from jaxvae.model import Example
from jaxvae.objectives import elbo

X = jnp.linspace(-1.0, 1.0, 6).reshape(3, 2)
CLASSES = jnp.eye(4)
GRID = Grid(jnp.array([0.1, 0.4, 1.0]), jnp.array([[True, True], [False, True], [True, True]]))


def test_a_plain_class_is_the_family_without_parameters():
    parts = {"encoder": nn.mlp((3, 2), (4,)), "decoder": nn.mlp((2,), (3, 2)), "latent_dim": 2}
    plain = models.vae(**parts, likelihood=Bernoulli)
    family = models.vae(**parts, likelihood=models.likelihood_family(Bernoulli))
    fixed = models.vae(**parts, likelihood=models.normal(1.0))
    params = plain.init(jax.random.key(0))
    for other in (family, fixed):
        jax.tree.map(np.testing.assert_array_equal, params, other.init(jax.random.key(0)))
    z = jnp.array([0.3, -0.4])
    first, second = (m.likelihood(params, z, None).log_prob(X) for m in (plain, family))
    assert first == second
    unit = models.unit_normal(fixed.likelihood(params, z, None).loc)
    np.testing.assert_allclose(fixed.likelihood(params, z, None).log_prob(X), unit.log_prob(X))


@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_the_best_learnt_scale_is_the_root_mean_squared_error_of_what_shares_it(shape):
    family = models.normal(shape=shape)
    errors = np.random.default_rng(0).normal(size=(50, 3, 2)) * np.arange(1.0, 7.0).reshape(3, 2)
    rows = jnp.asarray(np.asarray(X) + errors, jnp.float32)
    shared = tuple(range(3 - len(shape)))
    best = np.sqrt(np.mean(errors**2, axis=shared))

    def mean_log_prob(log_scale):
        build = lambda x: family.build({"log_scale": log_scale}, X, None).log_prob(x)  # noqa: E731
        return jnp.mean(jax.vmap(build)(rows))

    slope = jax.jit(jax.grad(mean_log_prob))
    # The derivative is a sum over coordinates of mean squares that cancel ones.
    np.testing.assert_allclose(slope(jnp.log(best).astype(jnp.float32)), 0.0, atol=6e-6 * 6)
    assert np.all(slope(jnp.log(2 * best).astype(jnp.float32)) < -0.5)
    assert family.init(jax.random.key(0))["log_scale"].shape == shape


def test_a_learnt_scale_has_the_density_of_scipy_and_is_trained_with_the_decoder():
    model = models.vae(
        encoder=nn.mlp((3, 2), (4,)),
        decoder=nn.mlp((2,), (3, 2)),
        latent_dim=2,
        likelihood=models.normal(shape=(2,)),
    )
    params = model.init(jax.random.key(0))
    scales = np.array([0.3, 2.0])
    learnt = {"log_scale": jnp.log(scales).astype(jnp.float32)}
    params = params._replace(generative=params.generative._replace(likelihood=learnt))
    likelihood = model.likelihood(params, jnp.zeros(2), None)
    expected = stats.norm.logpdf(np.float64(X), np.float64(likelihood.loc), scales).sum()
    np.testing.assert_allclose(likelihood.log_prob(X), expected, rtol=1e-5)
    slope = jax.grad(lambda p: elbo(model, p, Example(X, X), key=jax.random.key(0)).surrogate)(
        params
    )
    assert np.all(np.abs(slope.generative.likelihood["log_scale"]) > 0.01)


def conditional_model(encoder, decoder, prior):
    """Each part sees the context where its flag says so."""

    def network(sees, inputs, outputs):
        if not sees:
            return nn.mlp((inputs,), outputs, hidden=())
        return nn.conditional(nn.mlp((inputs + 4,), outputs, hidden=()))

    learnt = models.conditional_normal(nn.mlp((4,), (4,), hidden=()))
    return models.vae(
        encoder=network(encoder, 6, (4,)),
        decoder=network(decoder, 2, (6,)),
        latent_dim=2,
        prior=learnt if prior else models.standard_normal(),
        likelihood=models.unit_normal,
    )


@pytest.mark.parametrize("sees", list(itertools.product([False, True], repeat=3))[1:])
def test_each_part_sees_the_context_or_not_by_itself(sees):
    model = conditional_model(*sees)
    params, x, z = model.init(jax.random.key(0)), X.ravel(), jnp.array([0.3, -0.4])
    first, second = (
        (
            model.posterior(params, x, c).mean,
            model.likelihood(params, z, c).mean,
            model.prior(params, c).mean,
        )
        for c in CLASSES[:2]
    )
    differs = [bool(jnp.any(a != b)) for a, b in zip(first, second, strict=True)]
    assert differs == list(sees)


def test_a_context_is_needed_where_a_part_looks_at_one():
    for sees, call in (
        ((True, False, False), lambda m, p: m.posterior(p, X.ravel(), None)),
        ((False, True, False), lambda m, p: m.likelihood(p, jnp.zeros(2), None)),
        ((False, False, True), lambda m, p: m.prior(p, None)),
    ):
        model = conditional_model(*sees)
        with pytest.raises(ValueError, match="expected a context, got none"):
            call(model, model.init(jax.random.key(0)))


def test_class_numbers_are_no_quantities():
    model = conditional_model(True, False, False)
    with pytest.raises(ValueError, match="one_hot"):
        model.posterior(model.init(jax.random.key(0)), X.ravel(), jnp.array([3, 0, 0, 0]))


def test_joins_are_what_they_say():
    x, c = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.5, 0.0])
    tree = {"a": c, "b": jnp.ones((1, 1))}
    joined = nn.concatenated().apply(None, x, tree)
    np.testing.assert_array_equal(joined, [1.0, 2.0, 0.5, -0.5, 0.0, 1.0])

    linear = nn.mlp((3,), (2,), hidden=())
    embedding, shift = nn.embedded(linear), nn.added(linear)
    weights = embedding.init(jax.random.key(0))
    inner = linear.apply(weights["embedding"], c)
    np.testing.assert_array_equal(embedding.apply(weights, x, c), jnp.concatenate([x, inner]))
    weights = shift.init(jax.random.key(0))
    np.testing.assert_array_equal(shift.apply(weights, x, c), x + linear.apply(weights, c))
    with pytest.raises(ValueError, match="a context of one array"):
        shift.apply(weights, x, tree)
    with pytest.raises(ValueError, match=r"nn\.added expected one event of shape \(3,\)"):
        shift.apply(weights, jnp.zeros(3), c)


def test_one_set_of_parts_serves_the_latent_ode_too():
    """Its parameters are shared by all times, and a prior that reads the context gets the grid."""
    seen = []

    def build(params, context, latent_dim):
        seen.append(context)
        return Normal(jnp.full(latent_dim, 2.0), jnp.zeros(latent_dim))

    model = models.latent_ode(
        encoder=nn.recurrent_encoder(nn.recurrent(2, 3), 4),
        dynamics=nn.affine(2),
        decoder=nn.affine(2),
        latent_dim=2,
        channels=2,
        likelihood=Bernoulli,
        prior=models.PriorFamily(lambda key, d: {"unused": jnp.zeros(())}, build, True),
    )
    params = model.init(jax.random.key(0))
    assert set(params.generative) == {"dynamics", "decoder", "prior"}
    values = jnp.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    rows = model.likelihood(params, jnp.array([0.5, -0.5]), GRID)
    logits = np.float64(rows.base.logits)
    expected = (np.float64(values) * logits - np.logaddexp(0, logits))[np.asarray(GRID.mask)].sum()
    np.testing.assert_allclose(rows.log_prob(values), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.prior(params, GRID).mean, [2.0, 2.0])
    assert seen[-1] is GRID


def test_parts_are_saved_by_name():
    described = partial(
        models.vae,
        encoder=partial(nn.conditional, partial(nn.mlp, (10,), (4,))),
        decoder=partial(
            nn.conditional,
            partial(nn.mlp, (5,), (6,)),
            partial(nn.embedded, partial(nn.mlp, (4,), (3,))),
        ),
        latent_dim=2,
        likelihood=partial(models.normal, shape=(6,)),
        prior=partial(models.conditional_normal, partial(nn.mlp, (4,), (4,))),
    )
    again = recipe.build(recipe.from_json(recipe.to_json(described)))
    jax.tree.map(
        np.testing.assert_array_equal,
        again.init(jax.random.key(0)),
        recipe.build(described).init(jax.random.key(0)),
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.normal(0.0), "expected a positive scale, got 0.0; None learns it"),
        (lambda: models.normal(1.0, shape=(2,)), "no shape with a fixed scale"),
        (
            lambda: models.normal(shape=(3,)).build({"log_scale": jnp.zeros(3)}, X, None),
            r"last axes have the shape \(3,\) of its scales, got \(3, 2\)",
        ),
    ],
)
def test_scales_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
