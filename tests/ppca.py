"""A model whose every quantity is known: p(z) = N(0, I), p(x | z) = N(Wz + b, s^2 I).

With orthogonal columns of W the exact posterior N(M^-1 W'(x - b), s^2 M^-1), M = W'W + s^2 I, is
diagonal (probabilistic PCA: Bishop, section 12.2).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import multivariate_normal
from scipy import stats

from jaxvae.distributions import Normal
from jaxvae.model import Example, LatentVariableModel, Params


class Generative(NamedTuple):
    weights: jax.Array
    offset: jax.Array
    log_noise: jax.Array


class Inference(NamedTuple):
    weights: jax.Array
    offset: jax.Array
    log_scale: jax.Array


def _prior(params, context):
    del context
    return Normal.standard((params.generative.weights.shape[1],))


def _likelihood(params, latent, context):
    del context
    weights, offset, log_noise = params.generative
    return Normal(weights @ latent + offset, jnp.broadcast_to(log_noise, offset.shape))


def _posterior(params, inputs, context):
    del context
    weights, offset, log_scale = params.inference
    return Normal(weights @ (inputs - offset), log_scale)


def _tied_posterior(params, inputs, context):
    inference = exact_inference(params.generative)
    return _posterior(params._replace(inference=inference), inputs, context)


@partial(jax.jit, static_argnames=("size", "latent_dim"))
def generative(key, *, size=5, latent_dim=2) -> Generative:
    columns, _ = jnp.linalg.qr(jax.random.normal(key, (size, latent_dim)))
    weights = columns * jnp.linspace(0.7, 1.6, latent_dim)[None, :]
    return Generative(weights, jnp.linspace(-1.0, 1.0, size), jnp.float32(-0.4))


@jax.jit
def exact_inference(theta: Generative) -> Inference:
    variance = jnp.exp(2 * theta.log_noise)
    m = jnp.sum(theta.weights**2, axis=0) + variance
    log_scale = 0.5 * (jnp.log(variance) - jnp.log(m))
    return Inference(theta.weights.T / m[:, None], theta.offset, log_scale)


@jax.jit
def inexact_inference(theta: Generative) -> Inference:
    exact = exact_inference(theta)
    return Inference(0.6 * exact.weights, exact.offset + 0.3, exact.log_scale + 0.4)


def _init(key):
    theta = generative(key)
    return Params(theta, inexact_inference(theta))


model = LatentVariableModel(_init, _prior, _likelihood, _posterior)
# The posterior as a function of theta, exact for every theta with orthogonal columns.
tied_model = model._replace(posterior=_tied_posterior)


def log_evidence(theta: Generative, x):
    """log p(x) as a function that JAX can differentiate."""
    noise = jnp.exp(2 * theta.log_noise) * jnp.eye(len(theta.offset))
    return multivariate_normal.logpdf(x, theta.offset, theta.weights @ theta.weights.T + noise)


def exact_log_evidence(theta: Generative, x):
    """log p(x) in float64, by scipy; rows of x are observations."""
    weights, offset, log_noise = map(np.float64, theta)
    covariance = weights @ weights.T + np.exp(2 * log_noise) * np.eye(len(offset))
    return stats.multivariate_normal.logpdf(np.float64(x), offset, covariance)


def exact_params() -> Params:
    theta = generative(jax.random.key(0))
    return Params(theta, exact_inference(theta))


def inexact_params() -> Params:
    theta = generative(jax.random.key(0))
    return Params(theta, inexact_inference(theta))


def examples(number) -> Example:
    """Draws from the model itself, by numpy."""
    weights, offset, log_noise = map(np.asarray, generative(jax.random.key(0)))
    draw = np.random.default_rng(1).normal
    noise = np.exp(log_noise) * draw(size=(number, len(offset)))
    x = jnp.asarray(draw(size=(number, weights.shape[1])) @ weights.T + offset + noise, jnp.float32)
    return Example(x, x)
