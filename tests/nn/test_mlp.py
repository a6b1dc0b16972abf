import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.nn import mlp


@pytest.mark.parametrize(
    ("in_shape", "out_shape"),
    [((1, 1), (6,)), ((7, 5), (5, 9, 3)), ((28, 28), ()), ((5, 9, 3), (1,)), ((), (4,))],
)
def test_it_maps_any_shape_to_any_shape_by_its_formula(in_shape, out_shape):
    network = mlp(in_shape, out_shape, hidden=(8, 4), activation=jnp.tanh)
    params = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(network.init)(jax.random.key(0)))
    x = jax.random.normal(jax.random.key(1), in_shape)
    hidden = np.float64(x).ravel()
    for i in range(3):
        layer = params["layers"][i]
        hidden = hidden @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
        hidden = np.tanh(hidden) if i < 2 else hidden
    got = jax.jit(network.apply)(params, x)
    np.testing.assert_allclose(got, hidden.reshape(out_shape), rtol=1e-4, atol=1e-5)


def test_without_hidden_layers_it_is_affine():
    network = mlp((3,), (2,), hidden=())
    params = network.init(jax.random.key(0))
    jacobian = jax.jacobian(network.apply, argnums=1)
    for x in (jnp.zeros(3), jnp.array([5.0, -2.0, 1.0])):
        np.testing.assert_array_equal(jacobian(params, x), params["layers"][0]["kernel"].T)


def test_fresh_kernels_have_pytorchs_spread_and_biases_are_zero():
    params = mlp((400,), (300,), hidden=(200,)).init(jax.random.key(0))
    for i, fan_in in ((0, 400), (1, 200)):
        kernel = np.float64(params["layers"][i]["kernel"])
        edge = 1 / np.sqrt(fan_in)  # uniform on [-edge, edge]
        assert np.max(np.abs(kernel)) <= edge * (1 + 1e-6)
        np.testing.assert_allclose(np.std(kernel), edge / np.sqrt(3), rtol=0.01)
        np.testing.assert_array_equal(params["layers"][i]["bias"], 0.0)


def test_an_input_of_another_shape_is_refused():
    network = mlp((2, 3), (2,))
    params = network.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"nn.mlp expected .*\(2, 3\), got \(3, 2\); make"):
        network.apply(params, jnp.zeros((3, 2)))


@pytest.mark.parametrize("widths", [((0,), (2,), (4,)), ((2,), (0,), (4,)), ((2,), (2,), (0,))])
def test_an_empty_layer_is_refused(widths):
    in_shape, out_shape, hidden = widths
    with pytest.raises(ValueError, match=r"a width of nn\.mlp expected a positive integer, got 0"):
        mlp(in_shape, out_shape, hidden=hidden)
