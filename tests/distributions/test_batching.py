from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.distributions import Delta, Normal, batch_axes, batched, take
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.flows import Permutation

X = jnp.arange(10.0).reshape(5, 2)


@distribution
class Linear:
    """The mean is a shared matrix times the row."""

    weights: Any
    row: jax.Array
    shared: ClassVar[tuple[str, ...]] = ("weights",)

    @property
    def value(self):
        return self.weights["matrix"] @ self.row


WEIGHTS = {"matrix": jnp.array([[1.0, 2.0], [3.0, 5.0]]), "more": [jnp.ones(3)]}


def nested(x):
    return Normal(x, 2 * x), (Linear(WEIGHTS, x), Permutation((1, 0)), {"point": Delta(x)})


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5, 9])
def test_what_is_shared_has_no_batch_axis_and_everything_else_has(batch_size):
    normal, (linear, permutation, points) = batched(nested, (X,), batch_size=batch_size)
    np.testing.assert_array_equal(normal.loc, X)
    np.testing.assert_array_equal(points["point"].point, X)
    np.testing.assert_array_equal(linear.row, X)
    jax.tree.map(np.testing.assert_array_equal, linear.weights, WEIGHTS)
    assert permutation == Permutation((1, 0))


def test_axes_take_a_batch_apart_again():
    batch = batched(nested, (X,))
    got = jax.vmap(lambda tree: tree[1][0].value, (batch_axes(batch),))(batch)
    np.testing.assert_array_equal(got, X @ WEIGHTS["matrix"].T)
    axes = batch_axes(batch)
    assert axes[0].loc == axes[1][0].row == axes[1][2]["point"].point == 0
    assert jax.tree.leaves(axes[1][0].weights) == []


def test_take_gives_one_or_some_of_a_batch():
    batch = batched(nested, (X,))
    one, some = take(batch, 3), take(batch, jnp.array([4, 0]))
    np.testing.assert_array_equal(one[1][0].value, WEIGHTS["matrix"] @ X[3])
    np.testing.assert_array_equal(one[0].loc, X[3])
    np.testing.assert_array_equal(some[0].loc, X[jnp.array([4, 0])])
    jax.tree.map(np.testing.assert_array_equal, some[1][0].weights, WEIGHTS)


def test_distributions_without_shared_parameters_are_batched_as_vmap_does():
    got = batched(Normal, (X, X))
    jax.tree.map(np.testing.assert_array_equal, got, jax.vmap(Normal)(X, X))
    assert jax.tree.leaves(batch_axes(got)) == [0, 0]


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5, 9])
def test_a_shared_parameter_that_depends_on_the_row_is_refused(batch_size):
    def depends(x):
        return Linear({"matrix": x[0] * WEIGHTS["matrix"]}, x)

    with pytest.raises(ValueError, match=r"out_axes.weights.*None"):
        batched(depends, (X,), batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5, 9])
def test_arrays_without_elements_stay_in_their_place(batch_size):
    def narrow(x):
        return Linear({"matrix": jnp.zeros((2, 0))}, x[:0]), Normal(x[:0], x[:0]), Delta(x)

    linear, normal, delta = batched(narrow, (X,), batch_size=batch_size)
    assert linear.weights["matrix"].shape == (2, 0)
    assert linear.row.shape == normal.loc.shape == (5, 0)
    np.testing.assert_array_equal(delta.point, X)
