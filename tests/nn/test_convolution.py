from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxvae.nn import conv_decoder, conv_encoder, convolve, convolve_transposed

pytestmark = pytest.mark.usefixtures("quick_compilation")

LAYOUT = ("NHWC", "HWIO", "NHWC")
# (height, width), (kernel height, kernel width), stride
CASES = [((1, 1), (3, 3), 2), ((7, 5), (3, 3), 2), ((10, 7), (4, 1), 1), ((9, 10), (5, 4), 3)]
MORE_CASES = [
    ((8, 9), (3, 3), 1),
    ((28, 28), (3, 3), 2),
    ((5, 9), (3, 5), 2),
    ((6, 4), (2, 4), 2),
    ((7, 7), (2, 2), 2),
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
    draw = np.random.default_rng(0).normal
    shapes = (*size, channels), (*window, channels, features)
    return tuple(draw(size=shape).astype(np.float32) for shape in shapes)


def assert_close(got, expected, case=""):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5, err_msg=str(case))


@every_operation
@pytest.mark.parametrize(
    "cases",
    [CASES, pytest.param(MORE_CASES, marks=pytest.mark.exhaustive)],
    ids=["few", "more"],
)
def test_values_and_gradients_are_those_of_lax(name, cases):
    def values_and_pullbacks(operation, given):
        return [
            value_and_pullback(partial(operation, stride=stride), both)
            for both, (_, _, stride) in zip(given, cases, strict=True)
        ]

    def value_and_pullback(operation, both):
        output, pullback = jax.vjp(operation, *both)
        cotangent = jnp.cos(jnp.arange(output.size, dtype=jnp.float32)).reshape(output.shape)
        return output, pullback(cotangent)

    given = [operands(size, window) for size, window, _ in cases]
    ours, theirs = (jax.jit(partial(values_and_pullbacks, each))(given) for each in PAIRS[name])
    for (size, window, stride), got, expected in zip(cases, ours, theirs, strict=True):
        pixels = [n * stride if "transposed" in name else -(-n // stride) for n in size]
        case = f"image {size}, kernel {window}, stride {stride}"
        assert got[0].shape == (*pixels, 2), case
        jax.tree.map(partial(assert_close, case=case), got, expected)


@every_operation
def test_vmap_over_images_and_kernels_is_a_loop(name):
    draw = np.random.default_rng(1).normal
    images = draw(size=(4, 7, 5, 3)).astype(np.float32)
    kernels = draw(size=(4, 3, 3, 3, 2)).astype(np.float32)

    def gradient(operation, image, kernel):
        return jax.grad(lambda *both: jnp.sum(jnp.sin(operation(*both, 2))), (0, 1))(image, kernel)

    ours, oracle = (partial(gradient, operation) for operation in PAIRS[name])

    @jax.jit
    def over(images, kernels):
        return (
            jax.vmap(ours, (0, None))(images, kernels[0]),
            jax.vmap(ours, (None, 0))(images[0], kernels),
            jax.vmap(ours)(images, kernels),
        )

    exact, each, still = jax.jit(oracle), range(4), [0] * 4
    for got, *axes in zip(
        over(images, kernels), (each, still, each), (still, each, each), strict=True
    ):
        for i, (row, column) in enumerate(zip(*axes, strict=True)):
            own = jax.tree.map(lambda leaf, i=i: leaf[i], got)
            jax.tree.map(assert_close, own, exact(images[row], kernels[column]))


@pytest.mark.parametrize("window", [(2, 3), (3, 2), (1, 1)])
def test_a_transposed_kernel_that_would_leave_pixels_empty_is_refused(window):
    image, kernel = operands((4, 4), window)
    with pytest.raises(ValueError, match=r"at least stride 3, got .*enlarge the kernel"):
        jax.eval_shape(lambda *both: convolve_transposed(*both, 3), image, kernel)


SHAPES = [(1, 1), (7, 5), (5, 9, 3)]


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


def drawn(shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def assert_same_functions(networks, references, inputs):
    """Values, and gradients with respect to parameters and input, of all in one program."""

    def summed(function):
        def total(*arguments):
            output = function(*arguments)
            return jnp.sum(jnp.sin(output)), output

        return jax.grad(total, (0, 1), has_aux=True)

    # All weights are drawn: fresh biases are zero, which would hide that one is left out.
    arguments = {
        shape: (
            jax.tree.map(
                lambda leaf: 0.3 * drawn(leaf.shape),
                jax.eval_shape(network.init, jax.random.key(0)),
            ),
            drawn(inputs[shape]),
        )
        for shape, network in networks.items()
    }

    def all_of(functions):
        run = jax.jit(lambda given: [summed(f)(*a) for f, a in zip(functions, given, strict=True)])
        return run(list(arguments.values()))

    ours = all_of([network.apply for network in networks.values()])
    theirs = all_of(list(references.values()))
    for shape, got, expected in zip(arguments, ours, theirs, strict=True):
        jax.tree.map(partial(assert_close, case=shape), got, expected)


def test_the_encoder_is_the_network_of_lax_convolutions():
    networks = {shape: conv_encoder(shape, 6, features=(4, 8), dense=5) for shape in SHAPES}
    inputs = dict(zip(SHAPES, SHAPES, strict=True))
    assert_same_functions(networks, dict.fromkeys(SHAPES, encoder_reference), inputs)


def test_the_decoder_is_the_network_of_lax_convolutions():
    networks = {shape: conv_decoder(3, shape, features=(8, 4)) for shape in SHAPES}
    references = {shape: partial(decoder_reference, shape=shape) for shape in SHAPES}
    assert_same_functions(networks, references, dict.fromkeys(SHAPES, (3,)))


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
