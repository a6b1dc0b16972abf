"""Multilayer perceptrons between arrays of any shape."""

import math
from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Shape
from jaxvae.nn.network import Network, from_module

# PyTorch's default, which exercise 12 was run with. On MNIST its test bound after ten epochs is a
# nat above that of Lecun's or He's larger weights.
_KERNEL = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class _MLP(nnx.Module):
    def __init__(self, in_shape, hidden, out_shape, activation, *, rngs):
        widths = (math.prod(in_shape), *hidden, math.prod(out_shape))
        pairs = pairwise(widths)
        self.layers = nnx.List([nnx.Linear(m, n, kernel_init=_KERNEL, rngs=rngs) for m, n in pairs])
        self.in_shape = in_shape
        self.out_shape = out_shape
        self.activation = activation

    def __call__(self, x: Float[Array, "*input"]) -> Float[Array, "*output"]:
        _check.event_shape("nn.mlp", self.in_shape, x.shape)
        hidden = x.ravel()
        for layer in self.layers[:-1]:
            hidden = self.activation(layer(hidden))
        return self.layers[-1](hidden).reshape(self.out_shape)


def mlp(
    in_shape: Shape,
    out_shape: Shape,
    *,
    hidden: tuple[int, ...] = (256,),
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> Network:
    r"""$x \mapsto W_n a(\dots a(W_1 x + b_1)\dots) + b_n$, with input and output reshaped.

    Args:
        in_shape: shape of one input.
        out_shape: shape of one output.
        hidden: widths of the hidden layers.
        activation: elementwise, after each hidden layer.

    Returns:
        A network of one example.

    Example:
        >>> import jax
        >>> from jaxvae.nn import mlp
        >>> decoder = mlp((2,), (28, 28), hidden=(64,))
        >>> decoder.apply(decoder.init(jax.random.key(0)), jax.numpy.zeros(2)).shape
        (28, 28)
    """
    for width in (*in_shape, *hidden, *out_shape):
        _check.positive("a width of nn.mlp", width)
    return from_module(lambda rngs: _MLP(in_shape, hidden, out_shape, activation, rngs=rngs))


def tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$\tanh x$, elementwise, under a name of jaxvae, which a saved recipe may hold.

    Example:
        >>> from functools import partial
        >>> from jaxvae import nn
        >>> decoder = partial(nn.mlp, (2,), (28, 28), activation=nn.tanh)
    """
    return jnp.tanh(x)
