"""Small training problems with known answers, shared by the tests of training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import ppca

from jaxvae import objectives
from jaxvae.model import Estimate
from jaxvae.training import fit

ROWS, BATCH = 26, 4  # six steps an epoch, two rows left over
STEPS_PER_EPOCH = ROWS // BATCH
DATA = jax.random.normal(jax.random.key(9), (ROWS, 5))

run = partial(fit, batch_size=BATCH, progress=False)
elbo = partial(objectives.elbo, ppca.model)
train = partial(run, elbo, ppca.model.init, DATA, optimiser=optax.adam(1e-2))


def scalar_estimate(surrogate, **parts):
    return Estimate(surrogate, surrogate, parts)


def counting_loss(params, example, *, key, settings=None):
    """With one-hot rows and ``COUNT`` as optimiser, parameters count the visits to each row."""
    del key, settings
    return scalar_estimate(jnp.vdot(params, example.target))


COUNT = optax.sgd(float(BATCH))


def quadratic(params, example, *, key, settings=None):
    del key, settings
    return scalar_estimate(-jnp.sum((params - example.target) ** 2))


def zeros(key):
    del key
    return jnp.zeros(5)


def assert_identical(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def assert_close(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), first, second)


def key_number(key):
    return jax.random.uniform(key, minval=0.01)
