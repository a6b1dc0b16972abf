"""Strided convolutions as slices and matrix products, and the networks that the Bath report built.

XLA's own convolution loses its threads inside a compiled loop on a CPU, where training happens; a
matrix product keeps them. The results are those of ``jax.lax.conv_general_dilated`` and
``jax.lax.conv_transpose`` with padding "SAME".
"""

import math
from functools import partial
from itertools import pairwise, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Shape
from jaxvae.nn.network import Network, from_module


class _Geometry(NamedTuple):
    """A window that visits an image of ``size`` pixels in strides, with zero padding "SAME"."""

    size: tuple[int, int]
    window: tuple[int, int]
    stride: int

    @property
    def positions(self) -> tuple[int, int]:
        """Places that the window visits along each axis."""
        height, width = (-(-n // self.stride) for n in self.size)
        return height, width

    def padding(self, axis: int) -> tuple[int, int]:
        """Zeros before and after the image."""
        visited = (self.positions[axis] - 1) * self.stride + self.window[axis]
        total = max(visited - self.size[axis], 0)
        return total // 2, total - total // 2


def convolve(
    image: Float[Array, "height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int,
) -> Float[Array, "out_height out_width features"]:
    r"""$y_{pqf} = \sum_{ijc} x_{sp+i-a,\,sq+j-b,\,c}\, k_{ijcf}$ with zero padding "SAME".

    Args:
        image: one image, channels last.
        kernel: the filters.
        stride: s, the same along both axes.

    Returns:
        An image of ``ceil(size / stride)`` pixels along each axis.
    """
    geometry = _Geometry(_pair(image.shape[:2]), _pair(kernel.shape[:2]), stride)
    patches: Array = _unfold(geometry, image)
    return patches.reshape(*geometry.positions, -1) @ kernel.reshape(-1, kernel.shape[-1])


def convolve_transposed(
    image: Float[Array, "height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int,
) -> Float[Array, "out_height out_width features"]:
    """The transposed convolution with padding "SAME": ``size * stride`` pixels along each axis.

    Args:
        image: one image, channels last.
        kernel: the filters, laid out as for ``jax.lax.conv_transpose``.
        stride: the same along both axes.

    Raises:
        ValueError: if the kernel is smaller than the stride, so that pixels would be left empty.
    """
    *window, channels, features = kernel.shape
    if min(window) < stride:
        raise ValueError(
            f"convolve_transposed expected a kernel of at least stride {stride}, got "
            f"{tuple(window)}; enlarge the kernel or reduce the stride"
        )
    height, width = image.shape[:2]
    geometry = _Geometry((height * stride, width * stride), _pair(window), stride)
    # lax.conv_transpose correlates the dilated image, so its kernel meets the window reversed.
    reversed_kernel = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(channels, -1)
    products = (image @ reversed_kernel).reshape(height, width, *window, features)
    return _fold(geometry, products)


# Each of the two is linear and the other's transpose. Saying so matters: XLA's own transposes of
# their slices take twenty times as long. The price is that forward-mode derivatives do not exist.
@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unfold(geometry: _Geometry, image: Array) -> Array:
    """The image's patches: (*positions, *window, channels)."""
    return _gather(geometry, image)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fold(geometry: _Geometry, patches: Array) -> Array:
    """Overlapping patches added up into an image."""
    return _scatter(geometry, patches)


_unfold.defvjp(
    lambda geometry, image: (_unfold(geometry, image), None),
    lambda geometry, _, cotangent: (_fold(geometry, cotangent),),
)
_fold.defvjp(
    lambda geometry, patches: (_fold(geometry, patches), None),
    lambda geometry, _, cotangent: (_unfold(geometry, cotangent),),
)


def _gather(geometry: _Geometry, image: Array) -> Array:
    padded = jnp.pad(image, (geometry.padding(0), geometry.padding(1), (0, 0)))
    (height, width), stride = geometry.positions, geometry.stride
    spans = stride * (height - 1) + 1, stride * (width - 1) + 1
    slices = [
        padded[i : i + spans[0] : stride, j : j + spans[1] : stride]
        for i, j in product(*map(range, geometry.window))
    ]
    return jnp.stack(slices, axis=2).reshape(height, width, *geometry.window, image.shape[-1])


def _scatter(geometry: _Geometry, patches: Array) -> Array:
    """Pixels fall into stride x stride phases; each adds up the taps that reach it."""
    height, width = geometry.positions
    vertical, horizontal = (_phases(geometry, axis) for axis in (0, 1))
    reach = max(abs(offset) for taps in (*vertical, *horizontal) for _, offset in taps)
    margin = (reach, reach)
    padded = jnp.pad(patches, (margin, margin, (0, 0), (0, 0), (0, 0)))

    def phase(rows, columns):
        taps = [
            padded[reach + u : reach + u + height, reach + v : reach + v + width, i, j]
            for (i, u), (j, v) in product(rows, columns)
        ]
        return sum(taps, jnp.zeros((height, width, patches.shape[-1]), patches.dtype))

    grid = jnp.stack(
        [jnp.stack([phase(r, c) for c in horizontal], axis=2) for r in vertical], axis=1
    )
    image = grid.reshape(height * geometry.stride, width * geometry.stride, patches.shape[-1])
    return image[: geometry.size[0], : geometry.size[1]]


def _phases(geometry: _Geometry, axis: int) -> list[list[tuple[int, int]]]:
    """For each phase of the pixels, the (tap, offset of the position) pairs that reach it.

    Pixel r is seen through tap i from position (r + before - i) / stride, where that is whole.
    """
    before, stride = geometry.padding(axis)[0], geometry.stride
    return [
        [
            (tap, (phase + before - tap) // stride)
            for tap in range(geometry.window[axis])
            if (phase + before - tap) % stride == 0
        ]
        for phase in range(stride)
    ]


def _pair(sizes) -> tuple[int, int]:
    first, second = sizes
    return first, second


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
