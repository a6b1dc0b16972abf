"""Calls of ``jaxvae.fit`` that are measured, without the arguments that a benchmark varies."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvae
from experiments import vae
from jaxvae import data, models, nn, objectives, recipe, training


def exercise_12(
    images: np.ndarray,
    *,
    batch_size: int,
    hidden: int,
    latent_dim: int,
    seed: int,
    learning_rate: float = 1e-3,
) -> Callable[..., training.Fit]:
    """The VAE of exercise 12, a Bernoulli VAE with one hidden layer on each side, and Adam."""
    shape = images.shape[1:]
    model = models.vae(
        encoder=nn.mlp(shape, (2 * latent_dim,), hidden=(hidden,)),
        decoder=nn.mlp((latent_dim,), shape, hidden=(hidden,)),
        latent_dim=latent_dim,
    )
    return partial(
        jaxvae.fit,
        partial(objectives.elbo, model),
        model.init,
        images,
        key=jax.random.key(seed),
        optimiser=optax.adam(learning_rate),
        batch_size=batch_size,
    )


def digits(batch_size: int) -> Callable[..., training.Fit]:
    """The digits VAE with the defaults of its experiment, without key, steps and held-out rows."""
    images, defaults = data.load("digits").train.inputs, vae.Config()
    model = recipe.build(vae.model_recipe(defaults.model, "float32", images.shape[1:]))
    return partial(
        jaxvae.fit,
        partial(objectives.elbo, model),
        model.init,
        images,
        optimiser=optax.adam(defaults.training.learning_rate),
        batch_size=batch_size,
    )


def from_bytes(row: Any, /, *, key: Any) -> jaxvae.Example:
    """Turn a row of grey values from 0 to 255 into an example, on the device."""
    return training.autoencode(row.astype(jnp.float32) / 255, key=key)
