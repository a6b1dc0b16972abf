"""What every distribution promises, over one table."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samplers import RUN_ONCE

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
    LowRankNormal,
    Masked,
    Mixture,
    MultivariateNormal,
    MultivariateStudentT,
    NegativeBinomial,
    Normal,
    Pareto,
    Poisson,
    Rayleigh,
    Reciprocal,
    RelaxedBernoulli,
    RelaxedCategorical,
    StudentT,
    Transformed,
    Triangular,
    TruncatedNormal,
    Uniform,
    Weibull,
    ZeroInflated,
)
from jaxvae.distributions.flows import Reversal

NUMBER, SEEDS = 2000, 5
A, B = np.asarray(jax.random.normal(jax.random.key(0), (2, 2, 3)))


def of(family, *arrays):
    """A distribution of arrays that NumPy has made, which needs no compiled program for each."""
    return family(*[jnp.asarray(array, jnp.float32) for array in arrays])


FAMILIES = {
    "Normal": of(Normal, A, B),
    "Normal with scale 1e-20": of(Normal, 0.0 * A, np.full_like(B, -46.0)),
    "Bernoulli": of(Bernoulli, A),
    "Bernoulli with logits 1e4": of(Bernoulli, 1e4 * np.sign(A)),
    "Categorical": of(Categorical, A),
    "Categorical with logits 1e4": of(Categorical, 1e4 * A),
    "Delta": of(Delta, A),
    "Exponential": of(Exponential, A),
    "Cauchy": of(Cauchy, A, B),
    "Erlang": of(partial(Erlang, 3), A),
    "Gompertz": of(Gompertz, A, B),
    "Gumbel": of(Gumbel, A, B),
    "Laplace": of(Laplace, A, B),
    "Logistic": of(Logistic, A, B),
    "Pareto": of(Pareto, A, 1.5 + np.abs(B)),
    "Rayleigh": of(Rayleigh, A),
    "Reciprocal": of(Reciprocal, A, B),
    "StudentT": of(StudentT, A, B, np.full_like(A, 2.0)),
    "Triangular": of(Triangular, A, B, A - B),
    "TruncatedNormal": of(TruncatedNormal, A, B, B - 1.0, B + 2.0),
    "Uniform": of(Uniform, A, B),
    "Weibull": of(Weibull, A, 0.5 + np.abs(B)),
    "Poisson": of(Poisson, A),
    "NegativeBinomial": of(NegativeBinomial, A, B),
    "ZeroInflated": ZeroInflated(of(NegativeBinomial, A, B), jnp.asarray(B)),
    "Beta": of(Beta, A, B),
    "ChiSquared": of(ChiSquared, A),
    "Dirichlet": of(Dirichlet, 0.1 + np.abs(A)),
    "F": of(F, A, 2.5 + np.abs(B)),
    "Gamma": of(Gamma, A, B),
    "LogNormal": of(LogNormal, A, B - 2.0),
}
A1, B1, LOWER = A[0], B[0], np.array([0.4, 0.0, -2.0])
VECTORS = {
    "MultivariateNormal": of(MultivariateNormal, A1, B1, LOWER),
    "LowRankNormal": of(LowRankNormal, A1, B1, np.stack([A1, 0.0 * B1], axis=1)),
    "MultivariateStudentT": of(MultivariateStudentT, A1, B1, LOWER, 1.0),
    "RelaxedBernoulli": of(RelaxedBernoulli, A1, 0.3),
    "RelaxedCategorical": of(RelaxedCategorical, A1, 0.3),
    "Masked": Masked(of(Gamma, A1, B1), jnp.asarray(A1 == A1)),
    "Mixture": Mixture(of(Categorical, A1), of(Gamma, np.stack([A1] * 3), np.stack([B1] * 3))),
    "Transformed": Transformed(of(Normal, A1, B1), Reversal()),
}
ALL = FAMILIES | VECTORS
every_family = pytest.mark.parametrize("name", FAMILIES)
every_distribution = pytest.mark.parametrize("name", ALL)
WITHOUT_MEAN = {"Cauchy"}
WITH_CDF = [name for name, distribution in ALL.items() if hasattr(distribution, "cdf")]


@partial(jax.jit, compiler_options=RUN_ONCE)
def _draw(distribution, keys):
    """Samples with their densities, and samples alone."""
    alone = jax.vmap(distribution.sample)(jax.random.clone(keys))
    return *jax.vmap(distribution.sample_and_log_prob)(keys), alone


@partial(jax.jit, compiler_options=RUN_ONCE)
def _draw_with_slopes(distribution, keys):
    (samples, log_probs), pull_back = jax.vjp(
        lambda d: jax.vmap(d.sample_and_log_prob)(keys), distribution
    )
    (slopes,) = pull_back((jnp.ones_like(samples), jnp.zeros_like(log_probs)))
    alone = jax.vmap(distribution.sample)(jax.random.clone(keys))
    return samples, log_probs, alone, slopes


@cache
def drawn(name):
    """Samples, their densities, samples alone and, of the families, gradients of their sum."""
    draw, number = (_draw_with_slopes, NUMBER) if name in FAMILIES else (_draw, SEEDS)
    return jax.device_get(draw(ALL[name], jax.random.split(jax.random.key(1), number)))


def _score(distribution, values):
    ends = jnp.stack([jnp.full(values.shape[1:], end) for end in (-np.inf, np.inf, np.nan)])
    cdf = jax.vmap(distribution.cdf)(ends) if hasattr(distribution, "cdf") else None
    return jax.vmap(distribution.log_prob)(values), cdf


_score_alone = jax.jit(_score, compiler_options=RUN_ONCE)


@partial(jax.jit, compiler_options=RUN_ONCE)
def _look_at(distribution, values):
    """What has no randomness; densities of a batch and of mirrored events, both at the mode."""
    mode = distribution.mode
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), distribution)
    of_batch = jax.vmap(lambda d: d.log_prob(mode))(batch)
    stopped = jax.grad(lambda d: jax.lax.stop_gradient(d).log_prob(mode))(distribution)
    mirrored = jnp.stack([mode, mode[::-1]])
    log_probs, cdf = _score(distribution, jnp.concatenate([values, mirrored]))
    rest = distribution.mean, mode, of_batch, log_probs[-2:], stopped, distribution
    return (log_probs[:-2], cdf), rest


def with_last(event, *entries):
    """The event with other entries at its end."""
    return np.append(event.ravel()[: -len(entries)], entries).reshape(event.shape)


@cache
def computed(name):
    """Densities of the first samples and of spoilt ones, the ends of the cdf, and ``_look_at``."""
    (event, *events), inf, nan = drawn(name)[0][:SEEDS], np.inf, np.nan
    none = [(inf, inf), (-inf, -inf), (inf, -inf), (-inf, inf), (inf,), (-inf,)]
    spoilt = [(nan, inf), (-inf, nan), (nan, nan), (nan,)]
    beside = [with_last(event, *entries) for entries in none + spoilt]
    values = np.stack([event, *events, *beside]).astype(np.float32)
    if name in FAMILIES:
        return jax.device_get(_look_at(ALL[name], values))
    return jax.device_get(_score_alone(ALL[name], values)), None


def scored(name):
    return computed(name)[0]


def looked_at(name):
    return computed(name)[1]


def assert_same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@every_family
def test_it_is_a_distribution_over_its_event_shape(name):
    assert isinstance(FAMILIES[name], Distribution)
    assert FAMILIES[name].event_shape == (2, 3)
    for event in (drawn(name)[0][0], *looked_at(name)[:2]):
        assert event.shape == (2, 3)
        assert event.dtype == jnp.float32


@every_distribution
def test_sample_and_log_prob_agrees_with_sample_and_with_log_prob(name):
    samples, log_probs, alone, *_ = drawn(name)
    # The same operations, compiled twice: a rounding of the terms that make up a sample.
    np.testing.assert_allclose(samples, alone, rtol=1e-5, atol=1e-6)
    # A density promises 1e-5 of max(1, its size): the logarithms of its factors may cancel.
    np.testing.assert_allclose(scored(name)[0][:SEEDS], log_probs[:SEEDS], rtol=1e-5, atol=1e-5)


@every_family
def test_samples_average_to_the_mean(name):
    mean = np.float64(looked_at(name)[0])
    if name in WITHOUT_MEAN:
        assert np.all(np.isnan(mean))
        return
    samples = np.float64(drawn(name)[0])
    error = np.abs(np.mean(samples, axis=0) - mean)
    assert np.all(error <= 4 * np.std(samples, axis=0) / np.sqrt(NUMBER) + 1e-6 * np.abs(mean))


@every_family
def test_reparameterised_says_whether_gradients_reach_the_sample(name):
    reached = any(np.any(leaf != 0) for leaf in jax.tree.leaves(drawn(name)[3]))
    assert reached == FAMILIES[name].reparameterised


@every_family
def test_pytree_round_trip(name):
    distribution = FAMILIES[name]
    leaves, structure = jax.tree.flatten(distribution)
    assert_same(jax.tree.unflatten(structure, leaves), distribution)
    assert_same(looked_at(name)[-1], distribution)
    assert_same(jax.vmap(lambda d: d)(distribution), distribution)
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
def test_vmap_makes_batches_of_distributions(name):
    """The density at the mode of a distribution with its rows exchanged, in a batch and alone."""
    _, _, of_batch, mirrored, *_ = looked_at(name)
    np.testing.assert_allclose(of_batch, mirrored, rtol=1e-5, atol=1e-6)


@every_family
def test_it_is_frozen_and_stops_gradients_as_a_pytree(name):
    distribution = FAMILIES[name]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(distribution, dataclasses.fields(distribution)[0].name, np.zeros((2, 3)))
    for leaf in jax.tree.leaves(looked_at(name)[4]):
        np.testing.assert_array_equal(leaf, np.zeros((2, 3)))


@every_family
def test_an_event_of_another_shape_is_refused(name):
    owner = type(FAMILIES[name]).__name__
    for shape in ((), (3,), (2, 1), (7, 2, 3)):
        remedy = "vmap" if len(shape) > 2 else "make the sizes agree"
        with pytest.raises(ValueError, match=rf"{owner}.log_prob expected .*\(2, 3\).*{remedy}"):
            FAMILIES[name].log_prob(jnp.asarray(np.zeros(shape, np.float32)))


@every_distribution
def test_what_is_not_a_number_has_no_density_and_infinities_no_mass(name):
    np.testing.assert_array_equal(scored(name)[0][SEEDS:], [-np.inf] * 6 + [np.nan] * 4)


@pytest.mark.parametrize("name", WITH_CDF)
def test_distribution_functions_end_at_zero_and_one_and_keep_nan(name):
    for row, expected in zip(scored(name)[1], (0.0, 1.0, np.nan), strict=True):
        np.testing.assert_array_equal(row, np.full(row.shape, expected))


def test_delta_has_all_its_mass_at_the_point():
    delta = Delta(jnp.array([1.0, 2.0]))
    assert float(delta.log_prob(jnp.array([1.0, 2.0]))) == 0.0
    assert float(delta.log_prob(jnp.array([1.0, 2.5]))) == -jnp.inf
    np.testing.assert_array_equal(delta.sample(jax.random.key(0)), delta.point)
