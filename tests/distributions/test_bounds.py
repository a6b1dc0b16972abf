"""Bounds that a distribution computes from its parameters are those that it was made from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.distributions import (
    Beta,
    Pareto,
    Reciprocal,
    Triangular,
    Uniform,
    kl_by_factor,
)

divergences = jax.jit(kl_by_factor)
RANDOM = np.random.default_rng(0)
LOW = RANDOM.uniform(-5, 5, 5000)
WIDTH = np.exp(RANDOM.uniform(-8, 8, 5000))
HIGH = LOW + WIDTH
WITHIN = LOW + WIDTH * RANDOM.uniform(0.1, 0.9, 5000)


def single(*arrays):
    """Both in float32 and as the float64 numbers that it stands for."""
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def test_both_bounds_of_an_interval_are_inside_it():
    low, high = single(LOW, HIGH)
    distribution = Uniform.from_bounds(low, high)
    for bound in (low, high):
        np.testing.assert_array_equal(
            distribution.log_prob_by_factor(bound), -distribution.log_width
        )
    step = 1e-5 * (jnp.abs(low) + (high - low))
    for beside in (low - step, high + step):
        np.testing.assert_array_equal(
            distribution.log_prob_by_factor(beside), np.full(5000, -np.inf)
        )


def test_both_bounds_of_a_reciprocal_variable_are_inside():
    low, high = single(np.exp(LOW), np.exp(LOW) + WIDTH)
    distribution = Reciprocal.from_bounds(low, high)
    for bound in (low, high):
        assert np.all(np.isfinite(distribution.log_prob_by_factor(bound)))
    for beside in (low * (1 - 1e-4), high * (1 + 1e-4)):
        np.testing.assert_array_equal(
            distribution.log_prob_by_factor(beside), np.full(5000, -np.inf)
        )


def test_the_minimum_of_a_pareto_variable_is_inside():
    low, concentration = single(np.exp(4 * LOW), WIDTH)
    distribution = Pareto.from_scale(low, concentration)
    expected = jnp.log(concentration) - jnp.log(low)
    np.testing.assert_allclose(distribution.log_prob_by_factor(low), expected, rtol=3e-6, atol=0.03)
    below = distribution.log_prob_by_factor(low * (1 - 1e-4))
    np.testing.assert_array_equal(below, np.full(5000, -np.inf))


@pytest.mark.parametrize("name", ["Uniform", "Triangular", "Reciprocal", "Reciprocal to Uniform"])
def test_a_shared_upper_bound_is_covered_and_no_other(name):
    shift = 6.0 if "Reciprocal" in name else 0.0  # these are positive
    low, within, high = single(LOW + shift, WITHIN + shift, HIGH + shift)
    less = high - 1e-3 * (high - within)
    family = Reciprocal if name == "Reciprocal" else Uniform
    if name == "Triangular":
        q = Triangular.from_bounds(within, 0.5 * (within + high), high)
    else:
        q = (Reciprocal if shift else Uniform).from_bounds(within, high)
    covered, not_covered = (family.from_bounds(low, bound) for bound in (high, less))
    far = np.asarray(high - less) > 1e-4 * np.abs(high)
    divergence = np.asarray(divergences(q, covered))
    assert np.all(np.isfinite(divergence))
    assert np.all(divergence > 0)
    assert np.all(np.asarray(divergences(q, not_covered))[far] == np.inf)


def test_a_uniform_variable_up_to_one_covers_beta_variables():
    (low,) = single(-np.abs(LOW))
    ones = jnp.ones_like(low)
    assert np.all(np.isfinite(divergences(Beta(ones, ones), Uniform.from_bounds(low, ones))))
    short = Uniform.from_bounds(low, 0.999 * ones)
    assert np.all(divergences(Beta(ones, ones), short) == np.inf)
