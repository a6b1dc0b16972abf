import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest

from jaxvae import metrics, models
from jaxvae.distributions import Bernoulli, Cauchy

PARAMS = ppca.inexact_params()


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_linear_gaussian_model_has_its_exact_evidence_and_posterior(batch):
    examples = ppca.examples(20)
    found = metrics.laplace_log_evidence(ppca.model, PARAMS, examples, batch=batch)
    exact = ppca.exact_log_evidence(PARAMS.generative, examples.target)
    assert jnp.all(found.converged & found.negative_definite)
    np.testing.assert_allclose(found.log_integral, exact, rtol=2e-6, atol=1e-5)
    q = jax.vmap(lambda x: ppca.tied_model.posterior(PARAMS, x, None))(examples.target)
    np.testing.assert_allclose(found.mode, q.loc, atol=1e-5)
    covariance = jax.vmap(lambda posterior: posterior.covariance)(found.posterior)
    expected = jax.vmap(jnp.diag)(jnp.exp(2.0 * q.log_scale))
    np.testing.assert_allclose(covariance, expected, atol=1e-5)


def test_a_latent_of_several_parts_keeps_them():
    class Pair:
        reparameterised = True

        def __init__(self, normal):
            self.event_shape = {"first": (), "rest": (1,)}
            self.normal = normal
            self.mean = self._split(normal.mean)

        @staticmethod
        def _split(z):
            return {"first": z[0], "rest": z[1:]}

        def sample(self, key):
            return self._split(self.normal.sample(key))

        def sample_and_log_prob(self, key):
            z = self.sample(key)
            return z, self.log_prob(z)

        def log_prob(self, z):
            return self.normal.log_prob(join(z))

    def join(z):
        return jnp.concatenate([z["first"][None], z["rest"]])

    model = ppca.model._replace(
        prior=lambda params, context: Pair(ppca.model.prior(params, context)),
        posterior=lambda params, x, context: Pair(ppca.model.posterior(params, x, context)),
        likelihood=lambda params, z, context: ppca.model.likelihood(params, join(z), context),
    )
    examples = ppca.examples(3)
    plain = metrics.laplace_log_evidence(ppca.model, PARAMS, examples)
    found = metrics.laplace_log_evidence(model, PARAMS, examples)
    np.testing.assert_allclose(found.log_integral, plain.log_integral, rtol=1e-6)
    np.testing.assert_allclose(found.mode["first"], plain.mode[:, 0], atol=1e-6)
    np.testing.assert_allclose(found.mode["rest"], plain.mode[:, 1:], atol=1e-6)


def check_starts_from(posterior):
    examples = ppca.examples(5)
    model = ppca.model._replace(posterior=lambda params, x, context: posterior(x))
    found = metrics.laplace_log_evidence(model, PARAMS, examples)
    exact = ppca.exact_log_evidence(PARAMS.generative, examples.target)
    assert jnp.all(found.converged & found.negative_definite)
    np.testing.assert_allclose(found.log_integral, exact, rtol=2e-6, atol=1e-5)


def test_a_flow_has_an_event_to_start_from_though_it_has_no_mean():
    family = models.inverse_autoregressive(2, hidden=(4,), context=1)
    weights = family.init(jax.random.key(0), 2)
    check_starts_from(lambda x: family.build(weights, x, 2))


def test_a_posterior_without_a_mean_is_started_from_its_mode():
    check_starts_from(lambda x: Cauchy(x[:2], x[2:4]))


def test_misuse_is_refused():
    coin = Bernoulli(jnp.zeros(2))
    discrete = ppca.model._replace(
        prior=lambda params, context: coin, posterior=lambda params, inputs, context: coin
    )
    with pytest.raises(ValueError, match="expected a continuous latent"):
        metrics.laplace_log_evidence(discrete, PARAMS, ppca.examples(2))
    with pytest.raises(ValueError, match="batch expected a positive integer, got 0"):
        metrics.laplace_log_evidence(ppca.model, PARAMS, ppca.examples(2), batch=0)
