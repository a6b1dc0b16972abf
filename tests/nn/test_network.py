from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvae.nn import conv_decoder, conv_encoder, from_module, mlp

pytestmark = pytest.mark.usefixtures("quick_compilation")

NETWORKS = {
    "mlp": (mlp((7, 5), (3,), hidden=(4,)), (7, 5)),
    "conv_encoder": (conv_encoder((7, 5), 3, features=(2,)), (7, 5)),
    "conv_decoder": (conv_decoder(3, (7, 5), features=(2,)), (3,)),
    "own": (from_module(lambda rngs: nnx.Linear(3, 2, rngs=rngs)), (3,)),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@cache
def fresh(name, seed=0):
    return initialiser(name)(jax.random.key(seed))


@cache
def initialiser(name):
    return jax.jit(NETWORKS[name][0].init)


def is_plain(tree):
    if isinstance(tree, jax.Array):
        return True
    return type(tree) is dict and all(map(is_plain, tree.values()))


@every_network
def test_parameters_are_plain_dictionaries_of_arrays(name):
    assert is_plain(fresh(name))


@every_network
def test_fresh_parameters_are_a_function_of_the_key(name):
    first, other = fresh(name), fresh(name, 1)
    jax.tree.map(np.testing.assert_array_equal, first, initialiser(name)(jax.random.key(0)))
    for a, b in zip(map(np.asarray, jax.tree.leaves(first)), jax.tree.leaves(other), strict=True):
        assert np.all(a == 0) or np.mean(a != np.asarray(b)) > 0.9  # fresh biases are zero


def test_parameters_are_the_same_in_a_compiled_function_and_outside_of_one():
    outside = NETWORKS["own"][0].init(jax.random.key(0))
    close = partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, outside, fresh("own"))


@every_network
def test_apply_is_pure_and_batches_by_vmap(name):
    (network, shape), params = NETWORKS[name], fresh(name)
    batch = np.random.default_rng(1).normal(size=(4, *shape)).astype(np.float32)
    one = jax.jit(network.apply)
    rows = np.stack([one(params, x) for x in batch])
    together = jax.jit(jax.vmap(network.apply, (None, 0)))(params, batch)
    np.testing.assert_allclose(together, rows, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(one(params, batch[0]), rows[0])


class _Normalised(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(x)


class _Dropped(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.linear(x))


@pytest.mark.parametrize(
    ("module", "state"), [(_Normalised, r"norm\.mean.*norm\.var"), (_Dropped, r"drop\.rngs")]
)
def test_state_that_is_no_parameter_is_refused_by_name(module, state):
    with pytest.raises(ValueError, match=state) as caught:
        from_module(module)
    assert "LayerNorm" in str(caught.value)


def test_layer_norm_and_dropout_without_streams_are_welcome():
    def build(rngs):
        return nnx.Sequential(
            nnx.LayerNorm(3, rngs=rngs), nnx.Dropout(0.5, deterministic=True, rngs=None)
        )

    network = from_module(build)
    got = jax.jit(lambda key, x: network.apply(network.init(key), x))(
        jax.random.key(0), jnp.array([1.0, 2.0, 3.0])
    )
    np.testing.assert_allclose(got, np.sqrt(1.5) * np.array([-1.0, 0.0, 1.0]), rtol=1e-5, atol=1e-6)
