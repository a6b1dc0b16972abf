import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_alike
from scipy import stats

from jaxvae.distributions import Normal, Timed


def test_the_density_of_times_is_that_of_count_and_places():
    """A Poisson number of times, each by itself with density rate / integral; N! orders."""
    rng = np.random.default_rng(0)
    slope, end = 0.8, 3.0
    times = np.sort(rng.uniform(0, end, 7))
    integral = np.expm1(slope * end) / slope
    distribution = Timed(
        Normal.standard((7,)), jnp.float32(slope * times), jnp.ones(7, bool), jnp.float32(integral)
    )
    values = rng.normal(size=7)
    by_parts = (
        stats.poisson.logpmf(7, integral)
        + np.sum(slope * times - np.log(integral))
        + np.sum(np.log(np.arange(1, 8)))
        + stats.norm.logpdf(values).sum()
    )
    assert float(distribution.log_prob(jnp.float32(values))) == pytest.approx(by_parts, rel=1e-5)


def test_padding_does_not_count():
    base = Normal.standard((3,))
    rates = jnp.array([0.5, jnp.nan, jnp.inf])
    counted = jnp.array([True, False, False])

    def density(rates):
        return Timed(base, rates, counted, jnp.array(2.0)).log_prob(jnp.zeros(3))

    value, slope = jax.value_and_grad(density)(rates)
    assert float(value) == pytest.approx(3 * stats.norm.logpdf(0.0) + 0.5 - 2.0, rel=1e-6)
    np.testing.assert_array_equal(slope, [1.0, 0.0, 0.0])


def test_samples_and_moments_are_the_bases():
    base = Normal(jnp.arange(3.0), jnp.zeros(3))
    distribution = Timed(base, jnp.zeros(3), jnp.ones(3, bool), jnp.array(1.5))
    value, log_prob = distribution.sample_and_log_prob(jax.random.key(0))
    assert_alike(value, distribution.sample(jax.random.key(0)))
    assert float(log_prob) == pytest.approx(float(distribution.log_prob(value)), rel=1e-6)
    np.testing.assert_array_equal(distribution.mean, base.mean)
    assert distribution.event_shape == (3,)
    assert distribution.reparameterised


def test_rates_and_mask_of_different_lengths_are_refused(without_type_checks):
    with pytest.raises(ValueError, match="Timed expected parameters of one shape"):
        Timed(Normal.standard((3,)), jnp.zeros(3), jnp.ones(2, bool), jnp.array(1.0))
