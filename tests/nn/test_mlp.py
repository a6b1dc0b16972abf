import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.nn import mlp

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPES = [((1, 1), (6,)), ((7, 5), (5, 9, 3)), ((28, 28), ()), ((5, 9, 3), (1,)), ((), (4,))]


def test_it_maps_any_shape_to_any_shape_by_its_formula():
    draw = np.random.default_rng(0).normal
    networks = [mlp(*shapes, hidden=(8, 4), activation=jnp.tanh) for shapes in SHAPES]
    params = [
        jax.tree.map(
            lambda leaf: np.float32(draw(size=leaf.shape) / max(1, leaf.shape[0]) ** 0.5),
            jax.eval_shape(network.init, jax.random.key(0)),
        )
        for network in networks
    ]
    inputs = [np.float32(draw(size=shape)) for shape, _ in SHAPES]

    @jax.jit
    def outputs(params, inputs):
        return [n.apply(p, x) for n, p, x in zip(networks, params, inputs, strict=True)]

    found = zip(SHAPES, params, inputs, outputs(params, inputs), strict=True)
    for (in_shape, out_shape), weights, x, got in found:
        hidden = np.float64(x).ravel()
        for i in range(3):
            layer = weights["layers"][i]
            hidden = hidden @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
            hidden = np.tanh(hidden) if i < 2 else hidden
        np.testing.assert_allclose(
            got, hidden.reshape(out_shape), rtol=1e-4, atol=1e-5, err_msg=str(in_shape)
        )


def test_without_hidden_layers_it_is_affine():
    network = mlp((3,), (2,), hidden=())
    params = jax.jit(network.init)(jax.random.key(0))
    jacobian = jax.jit(jax.jacobian(network.apply, argnums=1))
    for x in (jnp.zeros(3), jnp.array([5.0, -2.0, 1.0])):
        np.testing.assert_array_equal(jacobian(params, x), params["layers"][0]["kernel"].T)


def test_fresh_kernels_have_pytorchs_spread_and_biases_are_zero():
    params = jax.jit(mlp((400,), (300,), hidden=(200,)).init)(jax.random.key(0))
    for i, fan_in in ((0, 400), (1, 200)):
        kernel = np.float64(params["layers"][i]["kernel"])
        edge = 1 / np.sqrt(fan_in)  # uniform on [-edge, edge]
        assert np.max(np.abs(kernel)) <= edge * (1 + 1e-6)
        np.testing.assert_allclose(np.std(kernel), edge / np.sqrt(3), rtol=0.01)
        np.testing.assert_array_equal(params["layers"][i]["bias"], 0.0)


def test_an_input_of_another_shape_is_refused():
    network = mlp((2, 3), (2,))
    params = jax.eval_shape(network.init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"nn.mlp expected .*\(2, 3\), got \(3, 2\); make"):
        jax.eval_shape(network.apply, params, np.zeros((3, 2), np.float32))


@pytest.mark.parametrize("widths", [((0,), (2,), (4,)), ((2,), (0,), (4,)), ((2,), (2,), (0,))])
def test_an_empty_layer_is_refused(widths):
    in_shape, out_shape, hidden = widths
    with pytest.raises(ValueError, match=r"a width of nn\.mlp expected a positive integer, got 0"):
        mlp(in_shape, out_shape, hidden=hidden)
