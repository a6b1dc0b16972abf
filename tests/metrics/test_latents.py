import jax
import jax.numpy as jnp
import numpy as np
import ppca

from jaxvae import LatentVariableModel, metrics
from jaxvae.distributions import Normal


def half_collapsed() -> LatentVariableModel:
    """The first latent follows x, the second is the prior."""

    def posterior(params, x, context):
        return Normal(jnp.stack([x[0], jnp.zeros(())]), jnp.array([-1.0, 0.0]))

    return ppca.model._replace(posterior=posterior)


def test_a_collapsed_dimension_has_no_kl_and_is_not_active():
    model, examples = half_collapsed(), ppca.examples(500)
    kl = metrics.kl_per_dimension(model, model.init(jax.random.key(0)), examples)
    first = np.asarray(examples.target[:, 0], np.float64)
    expected = np.mean(0.5 * (np.exp(-2.0) + first**2 - 1 + 2.0))
    np.testing.assert_allclose(kl, [expected, 0.0], rtol=1e-5, atol=1e-7)
    means = metrics.posterior_means(model, model.init(jax.random.key(0)), examples)
    assert metrics.active_units(means) == 1


def test_the_threshold_of_an_active_unit_is_on_the_variance_of_its_mean():
    means = jnp.array([[0.0, 0.0], [0.3, 0.1]])
    assert metrics.active_units(means, threshold=0.01) == 1
    assert metrics.active_units(means, threshold=0.001) == 2
