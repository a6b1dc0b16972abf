import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SUM_ROUNDING, assert_alike

from jaxvae.distributions import Bernoulli, Distribution, Exponential, Normal, Product

NORMAL = Normal(jnp.array([0.5, -1.0]), jnp.array([0.0, 2.0]))
BERNOULLI = Bernoulli(jnp.array([[0.3, -2.0, 1.0]]))
EXPONENTIAL = Exponential(jnp.array(0.7))
MIXED = Product((NORMAL, Product((BERNOULLI, EXPONENTIAL))))
VALUE = (jnp.array([1.0, 2.0]), (jnp.array([[0.0, 1.0, 1.0]]), jnp.array(0.2)))


def test_densities_and_entropies_add_up_over_nested_factors():
    parts = [(NORMAL, VALUE[0]), (BERNOULLI, VALUE[1][0]), (EXPONENTIAL, VALUE[1][1])]
    total = sum(float(d.log_prob(x)) for d, x in parts)
    np.testing.assert_allclose(MIXED.log_prob(VALUE), total, rtol=1e-6, atol=SUM_ROUNDING)
    entropy = sum(float(d.entropy()) for d, _ in parts)
    np.testing.assert_allclose(MIXED.entropy(), entropy, rtol=1e-6, atol=SUM_ROUNDING)


def test_moments_mode_and_shape_are_those_of_the_parts():
    assert isinstance(MIXED, Distribution)
    assert MIXED.event_shape == ((2,), ((1, 3), ()))
    for name in ("mean", "variance", "mode"):
        a, (b, c) = getattr(MIXED, name)
        assert_alike(a, getattr(NORMAL, name))
        assert_alike(b, getattr(BERNOULLI, name))
        assert_alike(c, getattr(EXPONENTIAL, name))


def test_samples_have_the_moments_of_the_parts_and_are_uncorrelated():
    pair = Product((NORMAL, NORMAL))
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = np.concatenate(jax.vmap(pair.sample)(keys), axis=-1)
    mean, covariance = np.mean(draws, axis=0), np.cov(draws.T)
    variance = np.tile(np.float64(NORMAL.variance), 2)
    assert np.all(np.abs(mean - np.tile(NORMAL.mean, 2)) <= 4 * np.sqrt(variance / 20_000))
    correlation = covariance / np.sqrt(np.outer(variance, variance))
    # The standard error of a correlation is 1 / sqrt(n), of a variance sqrt(2 / n).
    np.testing.assert_allclose(correlation, np.eye(4), atol=4 * np.sqrt(2 / 20_000))


def test_sample_and_log_prob_agrees_with_sample_and_with_log_prob():
    value, log_prob = MIXED.sample_and_log_prob(jax.random.key(3))
    assert_alike(value, MIXED.sample(jax.random.key(3)))
    np.testing.assert_allclose(log_prob, MIXED.log_prob(value), rtol=1e-6, atol=SUM_ROUNDING)


def test_it_is_reparameterised_when_all_factors_are():
    assert Product((NORMAL, EXPONENTIAL)).reparameterised
    assert not Product((NORMAL, BERNOULLI)).reparameterised

    def total(distribution):
        return sum(jnp.sum(x) for x in distribution.sample(jax.random.key(2)))

    gradients = jax.grad(total)(Product((NORMAL, BERNOULLI)))
    np.testing.assert_array_equal(gradients.factors[0].loc, [1.0, 1.0])


def test_it_is_a_pytree_of_its_factors():
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), MIXED)
    got = jax.jit(jax.vmap(lambda d: d.log_prob(VALUE)))(batch)
    shifted = jax.tree.map(lambda leaf: leaf + 1, MIXED)
    np.testing.assert_allclose(
        got, [MIXED.log_prob(VALUE), shifted.log_prob(VALUE)], rtol=1e-6, atol=SUM_ROUNDING
    )


def test_misuse_says_what_to_do():
    with pytest.raises(ValueError, match="expected one or more distributions"):
        Product(())
    with pytest.raises(ValueError, match="tuple of 2 parts, got 1"):
        MIXED.log_prob(VALUE[:1])


@pytest.mark.usefixtures("without_type_checks")
def test_stacked_parts_are_no_tuple():
    """Rows of an array would be taken for parts."""
    alike = Product((NORMAL, NORMAL))
    with pytest.raises(ValueError, match=r"tuple of 2 parts, got \w*Array"):
        alike.log_prob(jnp.stack([VALUE[0], VALUE[0]]))
