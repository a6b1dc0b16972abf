"""What densities and distribution functions say of values that cannot be events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contract import FAMILIES

from jaxvae.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Delta,
    Dirichlet,
    Gamma,
    Gompertz,
    LowRankNormal,
    Masked,
    Mixture,
    MultivariateNormal,
    MultivariateStudentT,
    Normal,
    Product,
    RelaxedBernoulli,
    RelaxedCategorical,
    Transformed,
)
from jaxvae.distributions.flows import Reversal

A, B = jax.random.normal(jax.random.key(0), (2, 3))
LOWER = jnp.array([0.4, 0.0, -2.0])
VECTORS = {
    "MultivariateNormal": MultivariateNormal(A, B, LOWER),
    "LowRankNormal": LowRankNormal(A, B, jnp.stack([A, 0.0 * B], axis=1)),
    "MultivariateStudentT": MultivariateStudentT(A, B, LOWER, jnp.array(1.0)),
    "RelaxedBernoulli": RelaxedBernoulli(A, jnp.array(0.3)),
    "RelaxedCategorical": RelaxedCategorical(A, jnp.array(0.3)),
    "Masked": Masked(Gamma(A, B), A == A),
    "Mixture": Mixture(Categorical(A), Gamma(jnp.stack([A] * 3), jnp.stack([B] * 3))),
    "Transformed": Transformed(Normal(A, B), Reversal()),
}
LAWS = FAMILIES | VECTORS
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
WITH_CDF = {name: law for name, law in LAWS.items() if hasattr(law, "cdf")}
every_cdf = pytest.mark.parametrize("law", WITH_CDF.values(), ids=WITH_CDF)


def event_of(law):
    return np.asarray(jax.jit(law.sample)(jax.random.key(1)))


def with_last(event, *entries):
    """The event with other entries at its end."""
    last = np.asarray(entries, event.dtype)
    return jnp.asarray(np.append(event.ravel()[: -len(entries)], last).reshape(event.shape))


@every_law
def test_what_is_not_a_number_has_no_density_and_infinities_no_mass(law):
    inf, nan, event = np.inf, np.nan, event_of(law)
    none = [(inf, inf), (-inf, -inf), (inf, -inf), (-inf, inf)]
    values = [with_last(event, *entries) for entries in none]
    values += [with_last(event, entry) for entry in (inf, -inf)]
    spoilt = [with_last(event, *entries) for entries in ((nan, inf), (-inf, nan), (nan, nan))]
    spoilt.append(with_last(event, nan))
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(law.log_prob))(jnp.stack([*values, *spoilt])), [-inf] * 6 + [nan] * 4
    )


@every_cdf
def test_distribution_functions_end_at_zero_and_one_and_keep_nan(law):
    ends = jnp.stack([jnp.full(law.event_shape, end) for end in (-np.inf, np.inf, np.nan)])
    for row, expected in zip(jax.jit(jax.vmap(law.cdf))(ends), (0.0, 1.0, np.nan), strict=True):
        np.testing.assert_array_equal(row, np.full(law.event_shape, expected))


@pytest.mark.parametrize(
    "law",
    [Gamma(A, B), Beta(A, B), Gompertz(A, B), Dirichlet(A)],
    ids=lambda law: type(law).__name__,
)
@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf])
def test_values_without_density_move_no_parameter(law, entry):
    at = with_last(event_of(law), entry)
    slopes = jax.tree.leaves(jax.jit(jax.grad(lambda law: law.log_prob(at)))(law))
    assert all(slope[-1] == 0 for slope in slopes)


def test_a_density_that_overflows_is_zero():
    assert Gompertz(A, B + 5.0).log_prob(jnp.full(3, 3e38)) == -np.inf


def test_one_part_that_is_not_a_number_spoils_the_event():
    law = Product((Normal(A, B), Delta(A)))
    assert np.isnan(law.log_prob((A.at[0].set(jnp.nan), A)))
    assert np.isnan(law.log_prob((A, A.at[0].set(jnp.nan))))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.float32])
def test_pixels_that_were_not_scaled_have_no_mass(dtype):
    law = Bernoulli(jnp.array([5.0, -5.0]))
    scored = law.log_prob(jnp.array([1, 0], dtype))
    np.testing.assert_allclose(scored, -2 * np.log1p(np.exp(-5.0)), rtol=1e-6)
    assert law.log_prob(jnp.array([255, 0], dtype)) == -np.inf
    by_factor = law.log_prob_by_factor(jnp.array([255, 0], dtype))
    np.testing.assert_allclose(by_factor, [-np.inf, -np.log1p(np.exp(-5.0))], rtol=1e-6)


def test_beside_the_unit_interval_a_bernoulli_variable_has_neither_mass_nor_gradient():
    values = jnp.array([-1.0, -1e-6, 1.000001, 2.0, jnp.nan])
    law = Bernoulli(jnp.full(5, 5.0))
    np.testing.assert_array_equal(law.log_prob_by_factor(values), [-np.inf] * 4 + [np.nan])
    slopes = jax.grad(lambda x, law: law.log_prob(x), argnums=(0, 1))(values, law)
    jax.tree.map(lambda slope: np.testing.assert_array_equal(slope, np.zeros(5)), slopes)


@pytest.mark.parametrize("value", [(1, 1, 1), (0, 0, 0), (2, 0, -1), (1, 0, 1e-2), (1.5, -0.5, 0)])
def test_beside_the_simplex_a_label_has_no_mass(value):
    assert Categorical(A).log_prob(jnp.array(value)) == -np.inf


def test_blended_labels_are_scored_by_cross_entropy():
    law, blend = Categorical(jnp.stack([A, B])), jax.nn.softmax(jnp.stack([B, A]))
    expected = np.sum(blend * law.log_probs)
    np.testing.assert_allclose(law.log_prob(blend), expected, rtol=1e-6)
    # A straight-through label, which rounding has moved off its corner.
    hard = jnp.eye(3)[:2]
    rounded = (hard + blend * 3.0) - blend * 3.0
    assert np.any(rounded != hard)
    np.testing.assert_allclose(law.log_prob(rounded), law.log_prob(hard), rtol=1e-5)
