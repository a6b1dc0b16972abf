import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxvae.nn import conv_decoder, conv_encoder

LAYOUT = ("NHWC", "HWIO", "NHWC")
SHAPES = [(1, 1), (7, 5), (28, 28), (5, 9, 3)]


def encoder_reference(params, x):
    """The same parameters in XLA's own convolutions."""
    hidden = jnp.atleast_3d(x)[None]
    for i in sorted(params["convolutions"]):
        layer = params["convolutions"][i]
        hidden = lax.conv_general_dilated(
            hidden, layer["kernel"], (2, 2), "SAME", dimension_numbers=LAYOUT
        )
        hidden = jax.nn.relu(hidden + layer["bias"][None, None, None])
    hidden = jax.nn.relu(hidden.ravel() @ params["dense"]["kernel"] + params["dense"]["bias"])
    return hidden @ params["head"]["kernel"] + params["head"]["bias"]


def decoder_reference(params, z, shape):
    def transposed(hidden, layer, stride):
        hidden = lax.conv_transpose(
            hidden, layer["kernel"], (stride, stride), "SAME", dimension_numbers=LAYOUT
        )
        return hidden + layer["bias"][None, None, None]

    sizes = [shape[:2]]
    for _ in params["convolutions"]:
        sizes.insert(0, [-(-n // 2) for n in sizes[0]])
    hidden = jax.nn.relu(z @ params["dense"]["kernel"] + params["dense"]["bias"])
    hidden = hidden.reshape(1, *sizes[0], -1)
    for i, (height, width) in zip(sorted(params["convolutions"]), sizes[1:], strict=True):
        hidden = jax.nn.relu(transposed(hidden, params["convolutions"][i], 2))
        hidden = hidden[:, :height, :width]
    return transposed(hidden, params["head"], 1).reshape(shape)


def assert_same_function(first, second, *arguments):
    """Values, and gradients with respect to all arguments."""

    def summed(function):
        def total(*arguments):
            output = function(*arguments)
            return jnp.sum(jnp.sin(output)), output

        return jax.jit(jax.grad(total, tuple(range(len(arguments))), has_aux=True))(*arguments)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        summed(first),
        summed(second),
    )


def nonzero_biases(params):
    """Fresh biases are zero, which would hide that one is left out."""
    return jax.tree.map(lambda leaf: leaf + 0.1 if leaf.ndim == 1 else leaf, params)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_encoder_is_the_network_of_lax_convolutions(shape):
    network = conv_encoder(shape, 6, features=(4, 8), dense=5)
    params = nonzero_biases(jax.jit(network.init)(jax.random.key(0)))
    x = jax.random.normal(jax.random.key(1), shape)
    assert_same_function(network.apply, encoder_reference, params, x)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_decoder_is_the_network_of_lax_convolutions(shape):
    network = conv_decoder(3, shape, features=(8, 4))
    params = nonzero_biases(jax.jit(network.init)(jax.random.key(0)))
    z = jax.random.normal(jax.random.key(1), (3,))
    assert_same_function(
        network.apply, lambda params, z: decoder_reference(params, z, shape), params, z
    )


def test_the_defaults_have_the_sizes_of_the_bath_report():
    def size(network):
        leaves = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0)))
        return sum(leaf.size for leaf in leaves)

    # 3x3 convolutions 1-32-64, dense 7*7*64 - 16, head 16 - 4
    encoder = (9 * 32 + 32) + (9 * 32 * 64 + 64) + (7 * 7 * 64 * 16 + 16) + (16 * 4 + 4)
    assert size(conv_encoder((28, 28), 4)) == encoder
    # dense 2 - 7*7*64, transposed convolutions 64-64-32, head 32-1
    decoder = (2 * 3136 + 3136) + (9 * 64 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 + 1)
    assert size(conv_decoder(2, (28, 28))) == decoder


@pytest.mark.parametrize("shape", [(28,), (1, 2, 3, 4)])
def test_arrays_that_are_no_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"nn.conv_encoder expected images .*use nn.mlp"):
        conv_encoder(shape, 2)
    with pytest.raises(ValueError, match=r"nn.conv_decoder expected images .*use nn.mlp"):
        conv_decoder(2, shape)


def test_an_input_of_another_shape_is_refused():
    encoder, decoder = conv_encoder((7, 5), 2, features=(2,)), conv_decoder(3, (7, 5))
    with pytest.raises(ValueError, match=r"\(7, 5\), got \(5, 7\); make the sizes agree"):
        jax.eval_shape(lambda: encoder.apply(encoder.init(jax.random.key(0)), jnp.zeros((5, 7))))
    with pytest.raises(ValueError, match=r"\(3,\), got \(2,\); make the sizes agree"):
        jax.eval_shape(lambda: decoder.apply(decoder.init(jax.random.key(0)), jnp.zeros(2)))
