"""Strided convolutions as slices and matrix products.

XLA's own convolution loses its threads inside a compiled loop on a CPU, where training happens; a
matrix product keeps them. The results are those of ``jax.lax.conv_general_dilated`` and
``jax.lax.conv_transpose`` with padding "SAME".
"""

from itertools import product

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float


def convolve(
    image: Float[Array, "height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int,
) -> Float[Array, "out_height out_width features"]:
    r"""$y_{pqf} = \sum_{ijc} x_{sp+i,\,sq+j,\,c}\, k_{ijcf}$ with zero padding "SAME".

    Args:
        image: one image, channels last.
        kernel: the filters.
        stride: s, the same along both axes.

    Returns:
        An image of ``ceil(size / stride)`` pixels along each axis.
    """
    rows = [_same_padding(n, k, stride) for n, k in zip(image.shape, kernel.shape[:2], strict=False)]
    padded = jnp.pad(image, (*rows, (0, 0)))
    height, width = (-(-n // stride) for n in image.shape[:2])
    patches = jnp.concatenate(
        [
            padded[i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
            for i, j in product(range(kernel.shape[0]), range(kernel.shape[1]))
        ],
        axis=-1,
    )
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def convolve_transposed(
    image: Float[Array, "height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int,
) -> Float[Array, "out_height out_width features"]:
    """The transposed convolution with padding "SAME": ``size * stride`` pixels along each axis.

    Pixels of the output fall into stride x stride phases; each phase is an ordinary convolution
    of the input with the taps of the kernel that reach it.

    Args:
        image: one image, channels last.
        kernel: the filters, laid out as for ``jax.lax.conv_transpose``.
        stride: the same along both axes.

    Raises:
        ValueError: if the kernel is smaller than the stride, so that pixels would be left empty.
    """
    if min(kernel.shape[:2]) < stride:
        raise ValueError(
            f"convolve_transposed expected a kernel of at least stride {stride}, got "
            f"{kernel.shape[:2]}; enlarge the kernel or reduce the stride"
        )
    height, width = image.shape[:2]
    vertical, horizontal = (_phases(size, stride) for size in kernel.shape[:2])
    reach = max(abs(offset) for taps in (*vertical, *horizontal) for _, offset in taps)
    padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)))

    def phase(rows, columns):
        taps = list(product(rows, columns))
        patches = jnp.concatenate(
            [
                padded[reach + u : reach + u + height, reach + v : reach + v + width]
                for (_, u), (_, v) in taps
            ],
            axis=-1,
        )
        weights = jnp.concatenate([kernel[i, j] for (i, _), (j, _) in taps])
        return patches @ weights

    grid = jnp.stack([jnp.stack([phase(r, c) for c in horizontal], axis=2) for r in vertical], axis=1)
    return grid.reshape(height * stride, width * stride, kernel.shape[-1])


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _phases(kernel: int, stride: int) -> list[list[tuple[int, int]]]:
    """For each phase of the output, the (tap, offset in the input) pairs that reach it.

    ``lax.conv_transpose`` dilates the input by the stride and pads ``before`` zeros, so output
    pixel r meets input pixel o through tap i where r + i = before + stride * o.
    """
    before = kernel - 1 if stride > kernel - 1 else -(-(kernel + stride - 2) // 2)
    return [
        [
            (tap, (phase + tap - before) // stride)
            for tap in range(kernel)
            if (phase + tap - before) % stride == 0
        ]
        for phase in range(stride)
    ]


class Convolution(nnx.Module):
    """A layer of ``convolve`` or ``convolve_transposed`` with a bias."""

    def __init__(self, channels, features, *, size=3, stride=2, transposed=False, rngs):
        """Draw the kernel (Lecun normal) and set the bias to zero."""
        initialise = nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(initialise(rngs.params(), (size, size, channels, features)))
        self.bias = nnx.Param(jnp.zeros(features))
        self.stride = stride
        self.transposed = transposed

    def __call__(
        self, image: Float[Array, "height width channels"]
    ) -> Float[Array, "out_height out_width features"]:
        """Apply the layer to one image."""
        operation = convolve_transposed if self.transposed else convolve
        return operation(image, self.kernel[...], self.stride) + self.bias[...][None, None, :]
