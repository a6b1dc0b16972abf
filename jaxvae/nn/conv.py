"""The convolutional encoder and decoder of the Bath report's VAE."""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Shape
from jaxvae.nn.convolution import convolve, convolve_transposed
from jaxvae.nn.network import Network, from_module


def _image_shape(owner: str, shape: Shape) -> tuple[int, int, int]:
    if len(shape) not in (2, 3):
        raise ValueError(
            f"{owner} expected images of shape (height, width) or (height, width, channels), "
            f"got {shape}; use nn.mlp for other arrays"
        )
    height, width, *channels = shape
    return height, width, channels[0] if channels else 1


class _Convolution(nnx.Module):
    def __init__(self, channels, features, *, stride=2, transposed=False, rngs):
        initialise = nnx.initializers.glorot_uniform()
        self.kernel = nnx.Param(initialise(rngs.params(), (3, 3, channels, features)))
        self.bias = nnx.Param(jnp.zeros(features))
        self.stride = stride
        self.transposed = transposed

    def __call__(self, image):
        operation = convolve_transposed if self.transposed else convolve
        return operation(image, self.kernel[...], self.stride) + self.bias[...][None, None, :]


class _Encoder(nnx.Module):
    def __init__(self, in_shape, out_size, features, dense, *, rngs):
        height, width, channels = _image_shape("nn.conv_encoder", in_shape)
        depths = (channels, *features)
        pairs = pairwise(depths)
        self.convolutions = nnx.List([_Convolution(m, n, rngs=rngs) for m, n in pairs])
        for _ in features:
            height, width = -(-height // 2), -(-width // 2)
        self.dense = nnx.Linear(height * width * depths[-1], dense, rngs=rngs)
        self.head = nnx.Linear(dense, out_size, rngs=rngs)
        self.in_shape = in_shape

    def __call__(self, x: Float[Array, "*image"]) -> Float[Array, " outputs"]:
        _check.event_shape("nn.conv_encoder", self.in_shape, x.shape)
        hidden = x.reshape(_image_shape("nn.conv_encoder", self.in_shape))
        for convolution in self.convolutions:
            hidden = jax.nn.relu(convolution(hidden))
        return self.head(jax.nn.relu(self.dense(hidden.ravel())))


class _Decoder(nnx.Module):
    def __init__(self, in_size, out_shape, features, *, rngs):
        *size, channels = _image_shape("nn.conv_decoder", out_shape)
        self.sizes = [size]
        for _ in features:
            self.sizes.insert(0, [-(-n // 2) for n in self.sizes[0]])
        self.sizes = nnx.static(tuple(map(tuple, self.sizes)))
        self.depth = features[0]
        self.dense = nnx.Linear(in_size, math.prod(self.sizes[0]) * self.depth, rngs=rngs)
        depths = (features[0], *features)
        pairs = pairwise(depths)
        self.convolutions = nnx.List(
            [_Convolution(m, n, transposed=True, rngs=rngs) for m, n in pairs]
        )
        self.head = _Convolution(features[-1], channels, stride=1, transposed=True, rngs=rngs)
        self.in_size = in_size
        self.out_shape = out_shape

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, "*image"]:
        _check.event_shape("nn.conv_decoder", (self.in_size,), z.shape)
        hidden = jax.nn.relu(self.dense(z)).reshape(*self.sizes[0], self.depth)
        for convolution, (height, width) in zip(self.convolutions, self.sizes[1:], strict=True):
            hidden = jax.nn.relu(convolution(hidden)[:height, :width])
        return self.head(hidden).reshape(self.out_shape)


def conv_encoder(
    in_shape: Shape, out_size: int, *, features: tuple[int, ...] = (32, 64), dense: int = 16
) -> Network:
    """3x3 convolutions of stride 2 with ReLU, a dense ReLU layer, and a linear head.

    The defaults are those of the Bath report, section 4.4 (figure 13); any height and width work.
    There is no forward-mode derivative (``jax.jacfwd``); ``jax.jacrev`` works.

    Args:
        in_shape: (height, width) or (height, width, channels) of one image.
        out_size: number of outputs.
        features: channels after each convolution.
        dense: width of the dense layer.

    Raises:
        ValueError: if the shape is not that of an image.
    """
    for width in (*in_shape, out_size, *features, dense):
        _check.positive("a width of nn.conv_encoder", width)
    return from_module(lambda rngs: _Encoder(in_shape, out_size, features, dense, rngs=rngs))


def conv_decoder(
    in_size: int, out_shape: Shape, *, features: tuple[int, ...] = (64, 32)
) -> Network:
    """A dense ReLU layer, transposed 3x3 convolutions of stride 2 with ReLU, one of stride 1.

    It mirrors ``conv_encoder``: where the encoder rounded an odd size up, the decoder crops.
    There is no forward-mode derivative (``jax.jacfwd``); ``jax.jacrev`` works.

    Args:
        in_size: latent size.
        out_shape: (height, width) or (height, width, channels) of one image.
        features: channels of the first map and after each transposed convolution.

    Raises:
        ValueError: if the shape is not that of an image.
    """
    for width in (in_size, *out_shape, *features):
        _check.positive("a width of nn.conv_decoder", width)
    if not features:
        raise ValueError("nn.conv_decoder expected at least one number of features, got none")
    return from_module(lambda rngs: _Decoder(in_size, out_shape, features, rngs=rngs))
