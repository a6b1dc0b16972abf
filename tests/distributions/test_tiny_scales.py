"""Scales whose inverse is no number of float32."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.distributions import (
    Cauchy,
    Gumbel,
    Laplace,
    Logistic,
    MultivariateNormal,
    MultivariateStudentT,
    Normal,
    StudentT,
    TruncatedNormal,
    kl_divergence,
)

LOC = jnp.array([0.0, -2.5])
TINY = jnp.full(2, -100.0)
UNIT = jnp.zeros(2)
NONE = jnp.zeros(1)
CASES = {
    "Normal": lambda s: Normal(LOC, s),
    "Laplace": lambda s: Laplace(LOC, s),
    "Cauchy": lambda s: Cauchy(LOC, s),
    "Logistic": lambda s: Logistic(LOC, s),
    "Gumbel": lambda s: Gumbel(LOC, s),
    "StudentT": lambda s: StudentT(LOC, s, UNIT + 1.0),
    "TruncatedNormal": lambda s: TruncatedNormal(LOC, s, LOC - 50.0, LOC + 60.0),
    "MultivariateNormal": lambda s: MultivariateNormal(LOC, s, NONE),
    "MultivariateStudentT": lambda s: MultivariateStudentT(LOC, s, NONE, jnp.array(1.0)),
}


@cache
def look_at(make):
    """At the location: the density and its slopes, that of a unit scale; a draw and its density."""

    @jax.jit
    def look(log_scale):
        density, slopes = jax.value_and_grad(lambda s, x: make(s).log_prob(x), (0, 1))(
            log_scale, LOC
        )
        draw = make(log_scale).sample_and_log_prob(jax.random.key(0))
        return density, slopes, make(UNIT).log_prob(LOC), draw

    return jax.device_get(look(TINY))


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_at_the_location_the_density_is_the_standard_one_over_the_scale(make):
    density, (by_scale, by_value), standard, _ = look_at(make)
    np.testing.assert_allclose(density, standard + 200.0, rtol=1e-6)
    np.testing.assert_array_equal(by_scale, [-1.0, -1.0])
    assert not np.any(np.isnan(by_value))


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_a_draw_has_a_density(make):
    *_, (value, log_prob) = look_at(make)
    np.testing.assert_allclose(value, LOC, atol=1e-6)
    assert not np.isnan(log_prob)


@pytest.mark.parametrize("family", [Normal, Laplace, Cauchy, Gumbel])
def test_a_tiny_scale_does_not_differ_from_itself(family):
    @jax.jit
    @jax.value_and_grad
    def divergence(log_scale):
        return kl_divergence(family(LOC, log_scale), family(LOC, TINY))

    got, slope = divergence(TINY)
    np.testing.assert_allclose(got, 0.0, atol=1e-6)
    np.testing.assert_allclose(slope, [0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("family", [Normal, Logistic, Laplace])
def test_a_point_differs_from_a_laplace_variable_by_its_distance_and_entropy(family):
    """Once the scale is nothing beside the distance, its logarithm alone is left."""

    @jax.jit
    @jax.value_and_grad
    def divergence(q, distance):
        return kl_divergence(q, Laplace(UNIT + distance, UNIT))

    q = family(UNIT, TINY)
    for distance in (0.0, 1.0, 1e4):
        got, slope = divergence(q, jnp.float32(distance))
        np.testing.assert_allclose(got, 2 * (distance + np.log(2)) - q.entropy(), rtol=1e-6)
        np.testing.assert_array_equal(slope.log_scale, [-1.0, -1.0])
        if distance > 0:  # at zero there is a kink
            np.testing.assert_array_equal(slope.loc, [-1.0, -1.0])
