"""The variational autoencoder."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import _check
from jaxvae._types import PRNGKey
from jaxvae.distributions import Bernoulli, Distribution, Normal
from jaxvae.model import LatentVariableModel, Params
from jaxvae.nn import Network


def unit_normal(mean: Array) -> Normal:
    """N(mean, I): the Gaussian likelihood of the Bath report (eq. 19 with unit variance)."""
    return Normal(mean, jnp.zeros_like(mean))


def vae(
    *,
    encoder: Network,
    decoder: Network,
    latent_dim: int,
    likelihood: Callable[[Array], Distribution] = Bernoulli,
) -> LatentVariableModel:
    r"""A model with a standard Normal prior and an amortised diagonal Normal posterior.

    $$z \sim N(0, I),\quad x \sim p(x \mid f_\theta(z)),\quad
    q(z \mid x) = N(\mu_\phi(x), \mathrm{diag}\,\sigma^2_\phi(x))$$

    Args:
        encoder: one input to $2d$ numbers, $\mu_\phi$ followed by $\log\sigma_\phi$.
        decoder: one latent vector of $d$ numbers to the raw parameters of the likelihood.
        latent_dim: $d$.
        likelihood: raw output of the decoder to the distribution of the target, such as
            ``Bernoulli`` (logits) or ``unit_normal`` (means).

    Returns:
        The model; encoder parameters are ``Params.inference``, decoder ``Params.generative``.

    Raises:
        ValueError: when called, if the encoder's output is not $2d$ numbers, or there is a context,
            which this model does not condition on.

    Reference: exercise 12, task 2; Bath report, sections 4.3 and 4.4.

    Example:
        >>> from jaxvae.models import vae
        >>> from jaxvae.nn import mlp
        >>> model = vae(encoder=mlp((28, 28), (100,)), decoder=mlp((50,), (28, 28)), latent_dim=50)
    """
    _check.positive("latent_dim", latent_dim)

    def init(key: PRNGKey) -> Params:
        generative, inference = jax.random.split(key)
        return Params(decoder.init(generative), encoder.init(inference))

    def prior(params, context):
        del params
        _no_context(context)
        return Normal.standard((latent_dim,))

    def likelihood_of(params, latent, context):
        _no_context(context)
        return likelihood(decoder.apply(params.generative, latent))

    def posterior(params, inputs, context):
        _no_context(context)
        output = encoder.apply(params.inference, inputs)
        if output.shape != (2 * latent_dim,):
            raise ValueError(
                f"vae expected an encoder with {2 * latent_dim} outputs (mean and log-scale of "
                f"{latent_dim} latents), got shape {output.shape}; change the encoder or latent_dim"
            )
        return Normal(output[:latent_dim], output[latent_dim:])

    return LatentVariableModel(init, prior, likelihood_of, posterior)


def _no_context(context: Any) -> None:
    if context is not None:
        raise ValueError(
            "vae models x alone and expected no context, got one; leave Example.context at None, "
            "or write a LatentVariableModel whose functions use it"
        )
