import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvae import nn

FLAX = {"rnn": (nn.rnn_cell, nnx.SimpleCell, 1), "gru": (nn.gru_cell, nnx.GRUCell, 3)}
both = pytest.mark.parametrize(("factory", "module", "blocks"), FLAX.values(), ids=FLAX)


@both
def test_a_cell_is_that_of_flax(factory, module, blocks):
    cell = factory(3, 5)
    params = jax.tree.map(lambda leaf: leaf + 0.1, cell.init(jax.random.key(0)))
    theirs = module(3, 5, rngs=nnx.Rngs(0))
    theirs.dense_i.kernel[...] = params["input"]
    theirs.dense_i.bias[...] = params["bias"]
    theirs.dense_h.kernel[...] = params["recurrent"]
    h, x = jax.random.normal(jax.random.key(1), (5,)), jnp.array([0.3, -2.0, 1.0])
    np.testing.assert_allclose(cell.apply(params, h, x), theirs(h, x)[0], rtol=1e-5, atol=1e-6)


@both
def test_fresh_recurrent_blocks_are_rotations_and_inputs_keep_their_variance(
    factory, module, blocks
):
    params = factory(400, 50).init(jax.random.key(0))
    for block in np.split(np.float64(params["recurrent"]), blocks, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(50), atol=1e-5)
    assert params["input"].shape == (400, blocks * 50)
    np.testing.assert_allclose(np.std(params["input"]), 1 / np.sqrt(400), rtol=0.02)
    np.testing.assert_array_equal(params["bias"], 0.0)


def test_another_activation_takes_the_place_of_tanh():
    cell = nn.rnn_cell(1, 1, activation=jnp.square)
    params = {"input": jnp.array([[2.0]]), "recurrent": jnp.array([[3.0]]), "bias": jnp.ones(1)}
    np.testing.assert_array_equal(cell.apply(params, jnp.ones(1), jnp.ones(1)), [36.0])


@both
def test_wrong_sizes_are_refused(factory, module, blocks):
    name = rf"nn\.{factory.__name__}"
    with pytest.raises(ValueError, match=f"in_dim of {name} expected a positive integer, got 0"):
        factory(0, 5)
    with pytest.raises(ValueError, match=f"hidden of {name} expected a positive integer, got 0"):
        factory(3, 0)
    cell = factory(3, 5)
    params = cell.init(jax.random.key(0))
    with pytest.raises(ValueError, match=f"the input of {name} expected one event of shape"):
        cell.apply(params, jnp.zeros(5), jnp.zeros(4))
    with pytest.raises(ValueError, match=f"the state of {name} expected one event of shape"):
        cell.apply(params, jnp.zeros(3), jnp.zeros(3))
