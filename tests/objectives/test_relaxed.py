"""Relaxed gradients of the ELBO: Gumbel-softmax and straight-through, biased as theory says."""

import jax
import jax.numpy as jnp
import mixed
import numpy as np
import pytest

from jaxvae import objectives
from jaxvae.distributions import Bernoulli
from jaxvae.objectives import ElboSettings, elbo


def relaxed_gradient(gradient, temperature, **options):
    params = mixed.discrete.init(jax.random.key(0))
    settings = ElboSettings(temperature=temperature)
    options = {"gradient": gradient, "settings": settings} | options
    return mixed.estimates(elbo, mixed.discrete, params, **options)


@pytest.mark.parametrize("kl", [objectives.analytic, objectives.monte_carlo])
def test_the_bias_of_gumbel_softmax_falls_and_its_variance_grows_with_the_temperature(kl):
    params = mixed.discrete.init(jax.random.key(0))
    exact = mixed.exact_gradient(mixed.discrete, params)
    biases, variances = [], []
    for temperature in (2.0, 0.5, 0.1):
        got, gradient = relaxed_gradient(objectives.gumbel_softmax, temperature, kl=kl)
        error, _ = mixed.errors(gradient.inference, exact.inference)
        biases.append(np.linalg.norm(error))
        variances.append(mixed.variance(gradient))
        # The bound is that of the hard events, whatever the temperature.
        mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.discrete, params))
        assert abs(np.mean(got.surrogate) - np.mean(got.bound)) > 0.002
    assert biases[0] > biases[1] > biases[2]
    assert biases[2] < 0.4 * biases[0]
    assert variances[0] < variances[1] < variances[2]


@pytest.mark.parametrize(
    "gradient", [objectives.straight_through, objectives.straight_through_gumbel]
)
def test_straight_through_is_biased_and_its_samples_are_hard(gradient):
    params = mixed.discrete.init(jax.random.key(0))
    exact = mixed.exact_gradient(mixed.discrete, params)
    got, straight = relaxed_gradient(gradient, 0.5)
    np.testing.assert_allclose(got.surrogate, got.bound, rtol=1e-6, atol=1e-5)
    mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.discrete, params))
    error, standard_error = mixed.errors(straight.inference, exact.inference)
    assert np.max(np.abs(error) / standard_error) > 10


class Linear:
    """A score that is linear in the latent."""

    def __init__(self, value):
        self.value = value

    def log_prob(self, target):
        return self.value + 0.0 * jnp.sum(target)


def test_straight_through_is_unbiased_where_the_score_is_linear():
    slopes = jnp.array([0.3, -1.0, 2.0])
    model = mixed.discrete._replace(likelihood=lambda params, z, context: Linear(slopes @ z))
    params = mixed.discrete.init(jax.random.key(0))
    _, gradient = mixed.estimates(elbo, model, params, gradient=objectives.straight_through)
    exact = mixed.exact_gradient(model, params)
    mixed.assert_unbiased(gradient.inference, exact.inference)


def test_a_normal_cannot_be_relaxed():
    mixed.assert_refused("got Normal", gradient=objectives.gumbel_softmax)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
@pytest.mark.parametrize(
    "gradient", [objectives.gumbel_softmax, objectives.straight_through_gumbel]
)
def test_a_temperature_is_positive(gradient, temperature):
    q = Bernoulli(jnp.zeros(2))
    with pytest.raises(ValueError, match="expected a positive temperature, got"):
        gradient(q, key=jax.random.key(0), num_samples=1, temperature=temperature)
