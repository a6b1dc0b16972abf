from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.distributions import Normal
from jaxvae.model import Example
from jaxvae.objectives import log_likelihood


def test_it_scores_the_target_and_is_what_is_differentiated():
    def log_prob(params, x):
        return Normal(params, jnp.zeros(3)).log_prob(x)

    loss = partial(log_likelihood, log_prob)
    params, x = jnp.array([0.5, 1.0, -2.0]), jnp.array([0.0, 3.0, 1.0])
    example = Example(inputs=None, target=x)
    estimate = loss(params, example, key=jax.random.key(0), settings=())
    np.testing.assert_array_equal(estimate.bound, log_prob(params, x))
    np.testing.assert_array_equal(estimate.surrogate, estimate.bound)
    assert estimate.parts == {}

    def surrogate(params):
        return loss(params, example, key=jax.random.key(0), settings=None).surrogate

    np.testing.assert_allclose(jax.grad(surrogate)(params), x - params, rtol=1e-6)
