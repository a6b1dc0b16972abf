"""Calls of ``jaxvae.fit`` that are measured, but for what a benchmark varies."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax

import jaxvae
from experiments import vae
from jaxvae import data, objectives, recipe, training


def digits(batch_size: int) -> Callable[..., training.Fit]:
    """The digits VAE with the defaults of its experiment, but for key, steps and held-out rows."""
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
    """A row of grey values from 0 to 255 as an example, on the device."""
    return training.autoencode(row.astype(jnp.float32) / 255, key=key)
