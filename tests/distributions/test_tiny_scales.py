"""Scales whose inverse is no number of float32."""

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
LAWS = {
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


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_at_the_location_the_density_is_the_standard_one_over_the_scale(law):
    got, slope = jax.value_and_grad(lambda s: law(s).log_prob(LOC))(TINY)
    np.testing.assert_allclose(got, law(UNIT).log_prob(LOC) + 200.0, rtol=1e-6)
    np.testing.assert_array_equal(slope, [-1.0, -1.0])
    assert not np.any(np.isnan(jax.grad(lambda x: law(TINY).log_prob(x))(LOC)))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_draw_has_a_density(law):
    value, log_prob = law(TINY).sample_and_log_prob(jax.random.key(0))
    np.testing.assert_allclose(value, LOC, atol=1e-6)
    assert not np.isnan(log_prob)


@pytest.mark.parametrize("family", [Normal, Laplace, Cauchy, Gumbel])
def test_a_tiny_law_does_not_differ_from_itself(family):
    got, slope = jax.value_and_grad(lambda s: kl_divergence(family(LOC, s), family(LOC, TINY)))(
        TINY
    )
    np.testing.assert_allclose(got, 0.0, atol=1e-6)
    np.testing.assert_allclose(slope, [0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("family", [Normal, Logistic, Laplace])
@pytest.mark.parametrize("distance", [0.0, 1.0, 1e4])
def test_a_point_differs_from_a_laplace_law_by_its_distance_and_entropy(family, distance):
    """Once the scale is nothing beside the distance, its logarithm alone is left."""

    def divergence(q):
        return kl_divergence(q, Laplace(UNIT + distance, UNIT))

    q = family(UNIT, TINY)
    got, slope = jax.value_and_grad(divergence)(q)
    np.testing.assert_allclose(got, 2 * (distance + np.log(2)) - q.entropy(), rtol=1e-6)
    np.testing.assert_array_equal(slope.log_scale, [-1.0, -1.0])
    if distance > 0:  # at zero there is a kink
        np.testing.assert_array_equal(slope.loc, [-1.0, -1.0])
