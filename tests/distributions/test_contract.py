"""What every distribution promises, over one table."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    ChiSquared,
    Delta,
    Dirichlet,
    Distribution,
    Erlang,
    Exponential,
    F,
    Gamma,
    Gompertz,
    Gumbel,
    Laplace,
    Logistic,
    LogNormal,
    NegativeBinomial,
    Normal,
    Pareto,
    Poisson,
    Rayleigh,
    Reciprocal,
    StudentT,
    Triangular,
    TruncatedNormal,
    Uniform,
    Weibull,
    ZeroInflated,
)

A, B = jax.random.normal(jax.random.key(0), (2, 2, 3))
FAMILIES = {
    "Normal": Normal(A, B),
    "Normal with scale 1e-20": Normal(0.0 * A, jnp.full_like(B, -46.0)),
    "Bernoulli": Bernoulli(A),
    "Bernoulli with logits 1e4": Bernoulli(1e4 * jnp.sign(A)),
    "Categorical": Categorical(A),
    "Categorical with logits 1e4": Categorical(1e4 * A),
    "Delta": Delta(A),
    "Exponential": Exponential(A),
    "Cauchy": Cauchy(A, B),
    "Erlang": Erlang(3, A),
    "Gompertz": Gompertz(A, B),
    "Gumbel": Gumbel(A, B),
    "Laplace": Laplace(A, B),
    "Logistic": Logistic(A, B),
    "Pareto": Pareto(A, 1.5 + jnp.abs(B)),
    "Rayleigh": Rayleigh(A),
    "Reciprocal": Reciprocal(A, B),
    "StudentT": StudentT(A, B, jnp.full_like(A, 2.0)),
    "Triangular": Triangular(A, B, A - B),
    "TruncatedNormal": TruncatedNormal(A, B, B - 1.0, B + 2.0),
    "Uniform": Uniform(A, B),
    "Weibull": Weibull(A, 0.5 + jnp.abs(B)),
    "Poisson": Poisson(A),
    "NegativeBinomial": NegativeBinomial(A, B),
    "ZeroInflated": ZeroInflated(NegativeBinomial(A, B), B),
    "Beta": Beta(A, B),
    "ChiSquared": ChiSquared(A),
    "Dirichlet": Dirichlet(0.1 + jnp.abs(A)),
    "F": F(A, 2.5 + jnp.abs(B)),
    "Gamma": Gamma(A, B),
    "LogNormal": LogNormal(A, B - 2.0),
}
every_family = pytest.mark.parametrize("distribution", FAMILIES.values(), ids=FAMILIES)
WITHOUT_MEAN = {"Cauchy"}
WITH_MEAN = {name: family for name, family in FAMILIES.items() if name not in WITHOUT_MEAN}
every_family_with_mean = pytest.mark.parametrize("distribution", WITH_MEAN.values(), ids=WITH_MEAN)


def assert_same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@every_family
def test_it_is_a_distribution_over_its_event_shape(distribution):
    assert isinstance(distribution, Distribution)
    assert distribution.event_shape == (2, 3)
    for event in (distribution.sample(jax.random.key(0)), distribution.mean, distribution.mode):
        assert event.shape == (2, 3)
        assert event.dtype == jnp.float32


@every_family
def test_sample_and_log_prob_agrees_with_sample_and_with_log_prob(distribution):
    for seed in range(5):
        value, log_prob = distribution.sample_and_log_prob(jax.random.key(seed))
        np.testing.assert_array_equal(value, distribution.sample(jax.random.key(seed)))
        # A density promises 1e-5 of max(1, its size): the logarithms of its factors may cancel.
        np.testing.assert_allclose(distribution.log_prob(value), log_prob, rtol=1e-5, atol=1e-5)


@every_family_with_mean
def test_samples_average_to_the_mean(distribution):
    keys = jax.random.split(jax.random.key(1), 20_000)
    samples = np.float64(jax.vmap(distribution.sample)(keys))
    error = np.mean(samples, axis=0) - np.float64(distribution.mean)
    rounding = 1e-6 * np.abs(distribution.mean)
    assert np.all(np.abs(error) <= 4 * np.std(samples, axis=0) / np.sqrt(20_000) + rounding)


@pytest.mark.parametrize("name", sorted(WITHOUT_MEAN))
def test_a_mean_that_does_not_exist_is_nan(name):
    assert np.all(np.isnan(FAMILIES[name].mean))


@every_family
def test_reparameterised_says_whether_gradients_reach_the_sample(distribution):
    def total(distribution):
        return jnp.sum(distribution.sample(jax.random.key(2)))

    gradients = jax.tree.leaves(jax.grad(total)(distribution))
    assert any(np.any(leaf != 0) for leaf in gradients) == distribution.reparameterised


@every_family
def test_pytree_round_trip(distribution):
    leaves, structure = jax.tree.flatten(distribution)
    assert_same(jax.tree.unflatten(structure, leaves), distribution)
    assert_same(jax.jit(lambda d: d)(distribution), distribution)
    assert jax.tree.structure(jax.tree.map(lambda _: object(), distribution)) == structure
    emptied = jax.tree.map(lambda _: None, distribution)
    assert type(emptied) is type(distribution)
    assert jax.tree.leaves(emptied) == []
    fields = dataclasses.fields(distribution)
    names = [field.name for field in fields if not field.metadata.get("static")]
    # A field that is itself a distribution has several leaves.
    paths = [jax.tree_util.keystr(path[:1]) for path, _ in jax.tree.leaves_with_path(distribution)]
    assert list(dict.fromkeys(paths)) == [f".{name}" for name in names]


@every_family
def test_vmap_makes_batches_of_distributions(distribution):
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), distribution)
    flipped = jax.tree.map(lambda leaf: leaf[::-1], distribution)
    value = distribution.mode
    got = jax.vmap(lambda d: d.log_prob(value))(batch)
    np.testing.assert_allclose(got, [distribution.log_prob(value), flipped.log_prob(value)], 1e-6)
    assert_same(jax.vmap(lambda d: d)(batch), batch)


@every_family
def test_it_is_frozen_and_stops_gradients_as_a_pytree(distribution):
    field = dataclasses.fields(distribution)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(distribution, field, jnp.zeros((2, 3)))

    def log_prob(distribution):
        return jax.lax.stop_gradient(distribution).log_prob(jnp.ones((2, 3)))

    for leaf in jax.tree.leaves(jax.grad(log_prob)(distribution)):
        np.testing.assert_array_equal(leaf, np.zeros((2, 3)))


@every_family
@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (7, 2, 3)])
def test_an_event_of_another_shape_is_refused(distribution, shape):
    name = type(distribution).__name__
    remedy = "vmap" if len(shape) > 2 else "make the sizes agree"
    with pytest.raises(ValueError, match=rf"{name}.log_prob expected .*\(2, 3\).*{remedy}"):
        distribution.log_prob(jnp.zeros(shape))


def test_delta_has_all_its_mass_at_the_point():
    delta = Delta(jnp.array([1.0, 2.0]))
    assert float(delta.log_prob(jnp.array([1.0, 2.0]))) == 0.0
    assert float(delta.log_prob(jnp.array([1.0, 2.5]))) == -jnp.inf
    np.testing.assert_array_equal(delta.sample(jax.random.key(0)), delta.point)
