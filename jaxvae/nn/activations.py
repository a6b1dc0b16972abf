"""Activations under names of jaxvae, which a saved recipe may hold."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\tanh x$, elementwise.

    Example:
        >>> from functools import partial
        >>> from jaxvae import nn
        >>> decoder = partial(nn.mlp, (2,), (28, 28), activation=nn.tanh)
    """
    return jnp.tanh(x)
