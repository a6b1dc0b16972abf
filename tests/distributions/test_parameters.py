"""What parameters may be: JAX arrays, NumPy arrays of any precision, numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae import distributions
from jaxvae.distributions import sampling

pytestmark = pytest.mark.usefixtures("without_type_checks")

FAMILIES = {
    "Uniform": lambda zero: distributions.Uniform(zero, zero),
    "Exponential": distributions.Exponential,
    "Logistic": lambda zero: distributions.Logistic(zero, zero),
    "Normal": lambda zero: distributions.Normal(zero, zero),
    "Gamma": lambda zero: distributions.Gamma(zero, zero),
    "RelaxedCategorical": lambda zero: distributions.RelaxedCategorical(zero, np.float64(0.0)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_numpy_parameters_are_those_of_jax(name):
    """Without float64 in JAX, NumPy's default type is taken down to float32."""
    family = FAMILIES[name]
    doubles, singles = family(np.zeros(3)), family(jnp.zeros(3))
    drawn, same = (
        jax.jit(distribution.sample)(jax.random.key(0)) for distribution in (doubles, singles)
    )
    assert drawn.dtype == jnp.float32
    np.testing.assert_array_equal(drawn, same)
    np.testing.assert_array_equal(doubles.log_prob(drawn), singles.log_prob(drawn))


def test_quasi_monte_carlo_points_of_numpy_parameters_follow_the_distribution():
    points = sampling.quasi_monte_carlo(
        distributions.Normal(np.zeros(2), np.zeros(2)), jax.random.key(0), 512
    )
    assert stats.kstest(np.asarray(points[:, 0]), "norm").pvalue > 1e-3


def test_numbers_make_distributions_of_one_number():
    for distribution in (
        distributions.Normal(0.0, 0.0),
        distributions.Normal(0, 0),
        distributions.Normal.from_scale(0.0, 1.0),
    ):
        assert distribution.event_shape == ()
        assert float(distribution.log_prob(0.5)) == pytest.approx(stats.norm.logpdf(0.5), rel=1e-6)
    assert float(
        distributions.Normal(np.zeros(2), np.zeros(2)).log_prob([0.5, 0.0])
    ) == pytest.approx(stats.norm.logpdf([0.5, 0.0]).sum(), rel=1e-6)


def test_numpy_parameters_stay_double_where_jax_is():
    with jax.enable_x64(True):
        assert (
            distributions.Normal(np.zeros(2), np.zeros(2)).sample(jax.random.key(0)).dtype
            == jnp.float64
        )


def test_arrays_of_integers_are_refused():
    for zeros in (jnp.zeros(2, int), np.zeros(2, int)):
        with pytest.raises(ValueError, match=r"Normal expected loc as floating.* got int"):
            distributions.Normal(zeros, zeros)


def test_a_batch_without_vmap_is_refused_or_right():
    """Made by ``vmap``, distributions have a leading axis that only ``vmap`` takes away."""
    factor = jax.random.normal(jax.random.key(0), (3, 2, 1))
    rows = jnp.zeros((3, 2))
    low_rank = jax.vmap(distributions.LowRankNormal)(rows, rows, factor)
    np.testing.assert_array_equal(
        low_rank.variance, jax.vmap(lambda distribution: distribution.variance)(low_rank)
    )
    student = jax.vmap(distributions.MultivariateStudentT)(
        rows, rows, jnp.zeros((3, 1)), jnp.ones(3)
    )
    with pytest.raises(ValueError, match=r"jax\.vmap over any batch axis"):
        student.entropy()
    relaxed = jax.vmap(distributions.RelaxedCategorical)(jnp.zeros((3, 3)), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"one log_temperature of shape \(\), got \(3,\)"):
        relaxed.log_prob(jnp.full((3, 3), 1 / 3))
