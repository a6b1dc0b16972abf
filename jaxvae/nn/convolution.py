"""Strided convolutions as slices and matrix products.

XLA's own convolution loses its threads inside a compiled loop on a CPU, where training happens; a
matrix product keeps them. The results are those of ``jax.lax.conv_general_dilated`` and
``jax.lax.conv_transpose`` with padding "SAME".
"""

from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


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
