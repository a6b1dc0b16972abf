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

EPS = np.finfo(np.float32).eps
run = partial(fit, batch_size=BATCH, progress=False)
elbo = partial(objectives.elbo, ppca.model)


def scalar_estimate(surrogate, **parts):
    return Estimate(surrogate, surrogate, parts)


def noisy(params, example, *, key, settings=1.0):
    """The ELBO of rows N(z, I / 2) for one z of all rows, up to constants: quick to compile.

    q(z) is Normal, the prior standard Normal, and the KL divergence is weighted by the settings.
    """
    z = params["mean"] + jnp.exp(params["log_scale"]) * jax.random.normal(key, (5,))
    reconstruction = -jnp.sum((z - example.target) ** 2)
    variance = jnp.exp(2 * params["log_scale"])
    kl = 0.5 * jnp.sum(params["mean"] ** 2 + variance - 1) - jnp.sum(params["log_scale"])
    parts = {"reconstruction": reconstruction, "kl": kl}
    return Estimate(reconstruction - settings * kl, reconstruction - kl, parts)


def start(key):
    return {"mean": jax.random.normal(key, (5,)), "log_scale": jnp.zeros(5)}


train = partial(run, noisy, start, DATA, optimiser=optax.adam(1e-2))


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
    """Parameters that agree after at most 20 steps of gradient ascent at a rate of at most 0.03.

    A gradient of ``noisy`` is a sum of some ten terms below 30 in size. What divides gradients by
    their size, such as Adam, would enlarge the rounding of small ones.
    """
    atol = 20 * 0.03 * 10 * 30 * EPS
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), first, second)


def assert_same_bound(first, second):
    """Means of bounds, which are sums of some ten terms below 30 in size, of close parameters."""
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-3)


def key_number(key):
    return jax.random.uniform(key, minval=0.01)
