"""What densities and distribution functions say of values that cannot be events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SUM_ROUNDING
from scipy import special

from jaxvae.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Delta,
    Dirichlet,
    Gamma,
    Gompertz,
    Normal,
    Product,
)

A, B = jax.random.normal(jax.random.key(0), (2, 3))
slopes_at = jax.jit(jax.vmap(jax.grad(lambda d, x: d.log_prob(x)), (None, 0)))
log_prob_of = jax.jit(lambda d, x: d.log_prob(x))


@pytest.mark.parametrize(
    "distribution",
    [Gamma(A, B), Beta(A, B), Gompertz(A, B), Dirichlet(A)],
    ids=lambda distribution: type(distribution).__name__,
)
def test_values_without_density_move_no_parameter(distribution):
    inside = np.float32([0.2, 0.3])
    at = np.stack([np.append(inside, entry) for entry in np.float32([np.nan, np.inf, -np.inf])])
    for slopes in jax.tree.leaves(slopes_at(distribution, at)):
        np.testing.assert_array_equal(slopes[:, -1], np.zeros(3))


def test_a_density_that_overflows_is_zero():
    assert log_prob_of(Gompertz(A, B + 5.0), np.full(3, 3e38, np.float32)) == -np.inf


def test_one_part_that_is_not_a_number_spoils_the_event():
    pair, spoilt = Product((Normal(A, B), Delta(A))), np.append(np.nan, np.asarray(A)[1:])
    assert np.isnan(log_prob_of(pair, (spoilt, np.asarray(A))))
    assert np.isnan(log_prob_of(pair, (np.asarray(A), spoilt)))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.float32])
def test_pixels_that_were_not_scaled_have_no_mass(dtype):
    pixels = Bernoulli(jnp.array([5.0, -5.0]))
    right, wrong = np.array([1, 0], dtype), np.array([255, 0], dtype)
    np.testing.assert_allclose(log_prob_of(pixels, right), -2 * np.log1p(np.exp(-5.0)), rtol=1e-6)
    assert log_prob_of(pixels, wrong) == -np.inf
    by_factor = jax.jit(lambda d, x: d.log_prob_by_factor(x))(pixels, wrong)
    np.testing.assert_allclose(by_factor, [-np.inf, -np.log1p(np.exp(-5.0))], rtol=1e-6)


def test_beside_the_unit_interval_a_bernoulli_variable_has_neither_mass_nor_gradient():
    values = jnp.array([-1.0, -1e-6, 1.000001, 2.0, jnp.nan])
    sure = Bernoulli(jnp.full(5, 5.0))
    by_factor = jax.jit(lambda d, x: d.log_prob_by_factor(x))(sure, values)
    np.testing.assert_array_equal(by_factor, [-np.inf] * 4 + [np.nan])
    slopes = jax.jit(jax.grad(lambda x, d: d.log_prob(x), argnums=(0, 1)))(values, sure)
    jax.tree.map(lambda slope: np.testing.assert_array_equal(slope, np.zeros(5)), slopes)


def test_beside_the_simplex_a_label_has_no_mass():
    label = Categorical(A)
    for value in ((1, 1, 1), (0, 0, 0), (2, 0, -1), (1, 0, 1e-2), (1.5, -0.5, 0)):
        assert log_prob_of(label, np.float32(value)) == -np.inf, value


def test_blended_labels_are_scored_by_cross_entropy():
    logits = np.stack([A, B])
    labels, blend = Categorical(jnp.asarray(logits)), special.softmax(logits[::-1], axis=-1)
    expected = np.sum(blend * special.log_softmax(np.float64(logits), axis=-1))
    np.testing.assert_allclose(log_prob_of(labels, blend), expected, rtol=1e-6, atol=SUM_ROUNDING)
    # A straight-through label, which rounding has moved off its corner.
    hard = np.eye(3, dtype=np.float32)[:2]
    rounded = (hard + blend * np.float32(3.0)) - blend * np.float32(3.0)
    assert np.any(rounded != hard)
    np.testing.assert_allclose(
        log_prob_of(labels, rounded), log_prob_of(labels, hard), rtol=1e-5, atol=SUM_ROUNDING
    )
