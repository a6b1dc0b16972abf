import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SUM_ROUNDING, assert_alike, assert_near
from scipy import stats

from jaxvae.distributions import (
    Bernoulli,
    Distribution,
    Normal,
    Reparameterisable,
    Transformed,
    batch_axes,
    representative,
)
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.flows import Chain, Flow, Permutation, Radial, Reversal

BASE = Normal(jnp.array([0.3, -1.0, 2.0]), jnp.array([-0.5, 0.2, 0.0]))
RADIAL = Radial(jnp.array([0.0, 0.5, 1.0]), jnp.float32(0.3), jnp.float32(1.5))


@distribution
class Exponential:
    """exp of each coordinate: the image of a Normal is lognormal."""

    scale: jax.Array

    def forward(self, x):
        return self.scale * jnp.exp(x), jnp.sum(x + jnp.log(self.scale))

    def inverse(self, y):
        x = jnp.log(y / self.scale)
        return x, -jnp.sum(x + jnp.log(self.scale))


LOGNORMAL = Transformed(BASE, Exponential(jnp.array([1.0, 2.0, 0.5])))


def test_the_image_of_a_normal_under_exp_is_lognormal():
    median = np.exp(np.float64(BASE.loc)) * [1.0, 2.0, 0.5]
    reference = stats.lognorm(np.exp(np.float64(BASE.log_scale)), scale=median)
    for x in ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], [50.0, 1e-3, 7.0]):
        got = LOGNORMAL.log_prob(jnp.array(x))
        assert_near(got, reference.logpdf(np.float32(x)).sum(), 1e-5)
    keys = jax.random.split(jax.random.key(0), 100_000)
    samples, log_probs = jax.vmap(LOGNORMAL.sample_and_log_prob)(keys)
    for i in range(3):
        one = stats.lognorm(reference.args[0][i], scale=median[i])
        assert stats.kstest(np.float64(samples[:, i]), one.cdf).pvalue > 1e-3
    exact = reference.logpdf(np.float64(samples)).sum(axis=1)
    np.testing.assert_allclose(log_probs, exact, atol=1e-4)


def test_noise_transformation_and_density_are_one_story():
    q = Transformed(BASE, Chain((RADIAL, Reversal())))
    assert isinstance(q, Distribution)
    assert isinstance(q, Reparameterisable)
    assert q.reparameterised
    assert q.event_shape == (3,)
    noise = q.noise.sample(jax.random.key(1))
    value, log_prob = q.transform_and_log_prob(noise)
    assert_alike(value, q.transform(noise))
    assert_alike(value, RADIAL.forward(BASE.transform(noise))[0][::-1])
    assert_alike(value, q.sample(jax.random.key(1)))
    np.testing.assert_allclose(q.log_prob(value), log_prob, rtol=1e-5, atol=SUM_ROUNDING)


def test_a_permutation_moves_the_parameters():
    order = (2, 0, 1)
    moved = jax.tree.map(lambda leaf: leaf[jnp.array(order)], BASE)
    x = jnp.array([0.4, 1.0, -3.0])
    q = Transformed(BASE, Permutation(order))
    np.testing.assert_allclose(q.log_prob(x), moved.log_prob(x), rtol=1e-6, atol=SUM_ROUNDING)


def test_a_flow_of_a_flow_is_the_chain():
    x = jnp.array([0.4, 1.0, -3.0])
    nested = Transformed(Transformed(BASE, RADIAL), Reversal())
    chained = Transformed(BASE, Chain((RADIAL, Reversal())))
    np.testing.assert_allclose(
        nested.log_prob(x), chained.log_prob(x), rtol=1e-6, atol=SUM_ROUNDING
    )
    assert_alike(representative(nested), representative(chained))


def test_gradients_of_expectations_are_those_of_the_closed_form():
    """E[z] of a lognormal is exp(mu + sigma^2/2)."""

    def one(q, key):
        return jnp.sum(q.sample(key))

    gradients = jax.jit(jax.vmap(jax.grad(one), (None, 0)))(
        LOGNORMAL, jax.random.split(jax.random.key(2), 100_000)
    )
    mean = np.exp(BASE.loc + 0.5 * jnp.exp(2 * BASE.log_scale)) * np.array([1.0, 2.0, 0.5])
    for got, exact in (
        (gradients.base.loc, mean),
        (gradients.base.log_scale, mean * np.exp(2 * BASE.log_scale)),
        (gradients.flow.scale, mean / np.array([1.0, 2.0, 0.5])),
    ):
        error = np.abs(np.mean(np.float64(got), axis=0) - exact)
        assert np.all(error < 4 * np.std(got, axis=0) / np.sqrt(100_000))


def test_there_is_no_mean_but_a_point_in_the_midst():
    """Here that is the median."""
    assert np.all(np.isnan(LOGNORMAL.mean))
    np.testing.assert_allclose(representative(LOGNORMAL), np.exp(BASE.loc) * [1.0, 2.0, 0.5], 1e-6)
    np.testing.assert_array_equal(representative(BASE), BASE.loc)


def test_it_is_a_pytree_that_vmap_batches():
    leaves, structure = jax.tree.flatten(LOGNORMAL)
    assert len(leaves) == 3
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 0.1]), LOGNORMAL)
    assert jax.tree.structure(batch) == structure
    x = jnp.array([1.0, 2.0, 3.0])
    got = jax.vmap(lambda q: q.log_prob(x), (batch_axes(batch),))(batch)
    second = jax.tree.map(lambda leaf: leaf + 0.1, LOGNORMAL)
    np.testing.assert_allclose(
        got, [LOGNORMAL.log_prob(x), second.log_prob(x)], rtol=1e-5, atol=SUM_ROUNDING
    )
    assert isinstance(RADIAL, Flow)


def test_a_base_without_a_transformation_is_refused():
    with pytest.raises(ValueError, match=r"Transformed expected a base .* got Bernoulli"):
        Transformed(Bernoulli(jnp.zeros(3)), Reversal())


def test_an_event_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"Transformed.log_prob expected .*\(3,\), got \(2,\)"):
        Transformed(BASE, RADIAL).log_prob(jnp.zeros(2))
