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
from jaxvae.models.posteriors import Inference, PosteriorFamily, diagonal
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
    posterior: PosteriorFamily = diagonal(),  # noqa: B008 - an immutable tuple
) -> LatentVariableModel:
    r"""A model with a standard Normal prior and an amortised posterior.

    $$z \sim N(0, I),\quad x \sim p(x \mid f_\theta(z)),\quad q(z \mid x) = q(z; h_\phi(x))$$

    By default $q(z \mid x) = N(\mu_\phi(x), \mathrm{diag}\,\sigma^2_\phi(x))$.

    Args:
        encoder: one input to ``posterior.num_outputs(latent_dim)`` numbers; for the default to
            $2d$ numbers, $\mu_\phi$ followed by $\log\sigma_\phi$.
        decoder: one latent vector of $d$ numbers to the raw parameters of the likelihood.
        latent_dim: $d$.
        likelihood: raw output of the decoder to the distribution of the target, such as
            ``Bernoulli`` (logits) or ``unit_normal`` (means).
        posterior: the family of q: ``diagonal()``, ``full_covariance()``, ``low_rank(rank)``, or a
            flow (``planar``, ``radial``, ``inverse_autoregressive``, ``coupling``), whose bound
            needs ``kl=objectives.monte_carlo``.

    Returns:
        The model; decoder parameters are ``Params.generative``, and ``Params.inference`` is an
        ``Inference`` with those of the encoder and of the posterior.

    Raises:
        ValueError: when called, if the encoder's output has not the size that the posterior needs,
            or there is a context, which this model does not condition on.

    Reference: exercise 12, task 2; Bath report, sections 4.3 and 4.4.

    Example:
        >>> from jaxvae.models import vae
        >>> from jaxvae.nn import mlp
        >>> model = vae(encoder=mlp((28, 28), (100,)), decoder=mlp((50,), (28, 28)), latent_dim=50)

    With a posterior that is not diagonal:

        >>> from jaxvae.models import inverse_autoregressive
        >>> flow = inverse_autoregressive(blocks=2)
        >>> encoder = mlp((28, 28), (flow.num_outputs(50),))
        >>> decoder = mlp((50,), (28, 28))
        >>> model = vae(encoder=encoder, decoder=decoder, latent_dim=50, posterior=flow)
    """
    _check.positive("latent_dim", latent_dim)
    needed = posterior.num_outputs(latent_dim)

    def init(key: PRNGKey) -> Params:
        generative, inference, family = jax.random.split(key, 3)
        return Params(
            decoder.init(generative),
            Inference(encoder.init(inference), posterior.init(family, latent_dim)),
        )

    def prior(params, context):
        del params
        _no_context(context)
        return Normal.standard((latent_dim,))

    def likelihood_of(params, latent, context):
        _no_context(context)
        return likelihood(decoder.apply(params.generative, latent))

    def posterior_of(params, inputs, context):
        _no_context(context)
        output = encoder.apply(params.inference.encoder, inputs)
        if output.shape != (needed,):
            raise ValueError(
                f"vae expected an encoder with {needed} outputs (posterior.num_outputs of "
                f"{latent_dim} latents), got shape {output.shape}; change the encoder, latent_dim "
                "or the posterior"
            )
        return posterior.build(params.inference.posterior, output, latent_dim)

    return LatentVariableModel(init, prior, likelihood_of, posterior_of)


def _no_context(context: Any) -> None:
    if context is not None:
        raise ValueError(
            "vae models x alone and expected no context, got one; leave Example.context at None, "
            "or write a LatentVariableModel whose functions use it"
        )
