from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxvae.nn import convolve, convolve_transposed

LAYOUT = ("NHWC", "HWIO", "NHWC")
# (height, width), (kernel height, kernel width), stride
CASES = [
    ((1, 1), (3, 3), 2),
    ((7, 5), (3, 3), 2),
    ((8, 9), (3, 3), 1),
    ((28, 28), (3, 3), 2),
    ((5, 9), (3, 5), 2),
    ((6, 4), (2, 4), 2),
    ((7, 7), (2, 2), 2),
    ((9, 10), (5, 4), 3),
    ((10, 7), (4, 1), 1),
    ((3, 11), (7, 5), 4),
]


def reference(image, kernel, stride):
    batch = image[None]
    return lax.conv_general_dilated(batch, kernel, (stride, stride), "SAME", None, None, LAYOUT)[0]


def transposed_reference(image, kernel, stride):
    strides = (stride, stride)
    return lax.conv_transpose(image[None], kernel, strides, "SAME", dimension_numbers=LAYOUT)[0]


PAIRS = {
    "convolve": (convolve, reference),
    "convolve_transposed": (convolve_transposed, transposed_reference),
}
every_operation = pytest.mark.parametrize("name", PAIRS)


def operands(size, window, channels=3, features=2):
    keys = jax.random.split(jax.random.key(0))
    image = jax.random.normal(keys[0], (*size, channels))
    return image, jax.random.normal(keys[1], (*window, channels, features))


def assert_close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


@every_operation
@pytest.mark.parametrize(("size", "window", "stride"), CASES)
def test_values_and_gradients_are_those_of_lax(name, size, window, stride):
    image, kernel = operands(size, window)
    expected_shape = [n * stride if "transposed" in name else -(-n // stride) for n in size]

    def value_and_pullback(operation):
        output, pullback = jax.vjp(lambda *both: operation(*both, stride), image, kernel)
        cotangent = jnp.cos(jnp.arange(output.size, dtype=jnp.float32)).reshape(output.shape)
        return output, pullback(cotangent)

    got, expected = (jax.jit(partial(value_and_pullback, operation))() for operation in PAIRS[name])
    assert got[0].shape == (*expected_shape, 2)
    jax.tree.map(assert_close, got, expected)


@every_operation
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_over_images_and_kernels_is_a_loop(name, axes):
    operation, oracle = PAIRS[name]
    images = jax.random.normal(jax.random.key(1), (4, 7, 5, 3))
    kernels = jax.random.normal(jax.random.key(2), (4, 3, 3, 3, 2))
    image, kernel = (
        many if axis == 0 else many[0] for many, axis in zip((images, kernels), axes, strict=True)
    )

    def gradient(image, kernel):
        return jax.grad(lambda *both: jnp.sum(jnp.sin(operation(*both, 2))), (0, 1))(image, kernel)

    got = jax.jit(jax.vmap(gradient, axes))(image, kernel)
    exact = jax.jit(jax.grad(lambda *both: jnp.sum(jnp.sin(oracle(*both, 2))), (0, 1)))
    for i in range(4):
        one = exact(
            image if axes[0] is None else image[i], kernel if axes[1] is None else kernel[i]
        )
        jax.tree.map(lambda a, b, i=i: assert_close(a[i], b), got, one)


@pytest.mark.parametrize("window", [(2, 3), (3, 2), (1, 1)])
def test_a_transposed_kernel_that_would_leave_pixels_empty_is_refused(window):
    image, kernel = operands((4, 4), window)
    with pytest.raises(ValueError, match=r"at least stride 3, got .*enlarge the kernel"):
        convolve_transposed(image, kernel, 3)
