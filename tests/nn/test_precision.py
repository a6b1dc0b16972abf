import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvae import Example, models, nn, objectives, recipe
from jaxvae.nn import conv_decoder, conv_encoder, from_module, mlp, with_precision

pytestmark = pytest.mark.usefixtures("quick_compilation")


def normalised(rngs):
    return nnx.Sequential(
        nnx.Linear(3, 4, rngs=rngs), nnx.LayerNorm(4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
    )


NETWORKS = {
    "mlp": (mlp((7, 5), (3,), hidden=(4,)), (7, 5)),
    "conv_encoder": (conv_encoder((7, 5), 3, features=(2,)), (7, 5)),
    "conv_decoder": (conv_decoder(3, (7, 5), features=(2,)), (3,)),
    "own": (from_module(normalised), (3,)),
}
every_network = pytest.mark.parametrize(("network", "shape"), NETWORKS.values(), ids=NETWORKS)


def dtypes(tree):
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


def products(jaxpr):
    """Names of the dtypes that each matrix product reads and writes, in inner functions too."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append({v.aval.dtype.name for v in (*equation.invars, *equation.outvars)})
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(inner):
                found += products(getattr(inner, "jaxpr", inner))
    return found


def is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def batched_gradient(network):
    """Over parameters, of a sum over a batch: what training asks for."""

    def total(params, batch):
        return jnp.sum(jax.vmap(network.apply, (None, 0))(params, batch) ** 2)

    return jax.grad(total)


@every_network
def test_every_product_is_computed_in_bfloat16_forwards_and_backwards(network, shape):
    mixed = with_precision(network, compute="bfloat16")
    params = jax.eval_shape(mixed.init, jax.random.key(0))
    batch = np.ones((4, *shape), np.float32)
    for function in (mixed.apply, batched_gradient(mixed)):
        argument = batch[0] if function is mixed.apply else batch
        found = products(jax.make_jaxpr(function)(params, argument).jaxpr)
        assert len(found) >= 2
        assert all(product == {"bfloat16"} for product in found)
    plain = products(jax.make_jaxpr(network.apply)(params, batch[0]).jaxpr)
    assert all(product == {"float32"} for product in plain)


@every_network
def test_parameters_outputs_and_gradients_are_float32_and_near_those_of_float32(network, shape):
    mixed = with_precision(network, compute="bfloat16")
    params, plain = jax.jit(lambda key: (mixed.init(key), network.init(key)))(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, params, plain)
    batch = np.random.default_rng(1).normal(size=(16, *shape)).astype(np.float32)

    @jax.jit
    def run(params, batch):
        return [
            (jax.vmap(each.apply, (None, 0))(params, batch), batched_gradient(each)(params, batch))
            for each in (mixed, network)
        ]

    (output, gradient), (exact, expected) = run(params, batch)
    assert dtypes((params, output, gradient)) == {"float32"}
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    output, exact = np.asarray(output), np.asarray(exact)
    # Three layers with some three roundings of half an epsilon each, against the largest output.
    epsilon = float(jnp.finfo(jnp.bfloat16).eps)
    assert np.max(np.abs(output - exact)) < 4 * epsilon * np.max(np.abs(exact))
    assert np.any(output != exact)
    for got, true in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        got, true = np.asarray(got), np.asarray(true)
        assert np.linalg.norm(got - true) < 8 * epsilon * np.linalg.norm(true) + 1e-6


def test_the_error_of_bfloat16_is_that_of_its_roundings():
    # Weights, inputs, product and sum are rounded by half an epsilon each, in both layers; signs
    # cancel in the network and not in the network of absolute values.
    network = mlp((50,), (6,), hidden=(40,))
    mixed = with_precision(network, compute="bfloat16")
    inputs = np.random.default_rng(1).normal(size=(200, 50)).astype(np.float32)

    @jax.jit
    def run(key, inputs):
        params = network.init(key)
        both = [jax.vmap(each.apply, (None, 0))(params, inputs) for each in (mixed, network)]
        absolute = jax.tree.map(jnp.abs, (params, inputs))
        return *both, jax.vmap(network.apply, (None, 0))(*absolute)

    rounded, exact, magnitudes = map(np.asarray, run(jax.random.key(0), inputs))
    relative = np.abs(rounded - exact) / magnitudes
    epsilon = float(jnp.finfo(jnp.bfloat16).eps)
    assert 0.01 * epsilon < np.max(relative) < 8 * epsilon / 2


def test_a_bound_is_computed_in_full_from_networks_in_bfloat16():
    model = models.vae(
        encoder=with_precision(mlp((6,), (4,)), compute="bfloat16"),
        decoder=with_precision(mlp((2,), (6,)), compute="bfloat16"),
        latent_dim=2,
    )
    params = jax.jit(model.init)(jax.random.key(0))

    x = jnp.linspace(0.0, 1.0, 6)

    @jax.jit
    def run(params):
        bound = jax.value_and_grad(
            lambda params: (
                objectives.elbo(model, params, Example(x, x), key=jax.random.key(1)).surrogate
            )
        )
        return bound(params)

    estimate, gradient = run(params)
    assert dtypes((estimate, gradient)) == {"float32"}
    # Not compiled, as the compiler may leave out the rounding of an output.
    q = model.posterior(params, x, None)
    assert dtypes(q) == {"float32"}
    # The outputs have the 8 bits of bfloat16, what is made of them has more.
    np.testing.assert_array_equal(q.loc, q.loc.astype(jnp.bfloat16).astype(jnp.float32))
    assert estimate != estimate.astype(jnp.bfloat16).astype(jnp.float32)


def test_parameters_may_be_kept_in_half_precision_and_computed_in_full():
    network = with_precision(mlp((5,), (3,)), params=jnp.bfloat16, compute=jnp.float32)
    x = jnp.linspace(-1.0, 1.0, 5)
    params = jax.eval_shape(network.init, jax.random.key(0))

    def run(params):
        output = network.apply(params, x)
        return output, jax.grad(lambda params: jnp.sum(network.apply(params, x)))(params)

    assert dtypes((params, jax.eval_shape(run, params))) == {"bfloat16"}
    assert set(map(frozenset, products(jax.make_jaxpr(network.apply)(params, x).jaxpr))) == {
        frozenset({"float32"})
    }


def test_labels_pass_as_they_are():
    def apply(params, label, x):
        assert label.dtype == jnp.int32
        return params["table"][label] * x, label

    network = nn.Network(lambda key: {"table": jnp.arange(300.0)}, apply)
    mixed = with_precision(network, compute="bfloat16")
    value, label = mixed.apply(mixed.init(jax.random.key(0)), jnp.int32(257), jnp.ones(()))
    assert (float(value), int(label)) == (256.0, 257)  # bfloat16 has no 257
    assert label.dtype == jnp.int32


def test_float64_is_exact_to_its_own_rounding():
    with jax.enable_x64(True):
        network = with_precision(
            mlp((6,), (3,), hidden=(50,), activation=jnp.tanh), params="float64", compute="float64"
        )
        params = jax.jit(network.init)(jax.random.key(0))
        x = jnp.asarray(np.random.default_rng(1).normal(size=6))
        got, gradient = jax.jit(
            jax.value_and_grad(lambda params: jnp.sum(network.apply(params, x)))
        )(params)
        assert dtypes((params, got, gradient)) == {"float64"}
    first, second = params["layers"][0], params["layers"][1]
    hidden = np.tanh(np.asarray(x) @ np.asarray(first["kernel"]) + np.asarray(first["bias"]))
    expected = np.sum(hidden @ np.asarray(second["kernel"]) + np.asarray(second["bias"]))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_allclose(
        gradient["layers"][1]["kernel"], np.tile(hidden[:, None], 3), rtol=1e-12
    )


@pytest.mark.parametrize("role", ["params", "compute"])
def test_float64_is_refused_where_jax_would_make_it_float32(role):
    message = f"{role} expected a dtype that JAX keeps, got float64.*jax_enable_x64"
    for dtype in ("float64", jnp.float64, np.dtype("float64"), float):
        with pytest.raises(ValueError, match=message):
            with_precision(mlp((2,), (2,)), **{role: dtype})
    with jax.enable_x64(True):
        network = with_precision(mlp((2,), (2,)), **{role: "float64"})
    params = jax.eval_shape(mlp((2,), (2,)).init, jax.random.key(0))
    with pytest.raises(ValueError, match="got float64"):  # and where the network is used
        jax.eval_shape(network.apply, params, np.zeros(2, np.float32))


@pytest.mark.parametrize("dtype", ["int32", "float33", "float8_e4m3fn", None, complex])
@pytest.mark.usefixtures("without_type_checks")
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match=r"compute expected one of bfloat16, .*, float64, got"):
        with_precision(mlp((2,), (2,)), compute=dtype)


def test_a_recipe_survives_json():
    described = partial(
        models.vae,
        encoder=partial(with_precision, partial(nn.mlp, (4, 3), (4,)), compute="bfloat16"),
        decoder=partial(
            with_precision, partial(nn.conv_decoder, 2, (4, 3)), params="float32", compute="float32"
        ),
        latent_dim=2,
    )
    again = recipe.from_json(json.loads(json.dumps(recipe.to_json(described))))
    x = jnp.asarray(np.linspace(0.0, 1.0, 12, dtype=np.float32).reshape(4, 3))
    # Not compiled, as the compiler may leave out the rounding of an output.
    first, second = (
        model.posterior(jax.jit(model.init)(jax.random.key(0)), x, None)
        for model in map(recipe.build, (described, again))
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    np.testing.assert_array_equal(first.loc, first.loc.astype(jnp.bfloat16).astype(jnp.float32))
