import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import check_log_det, check_round_trip
from oracles import SUM_ROUNDING, assert_alike

from jaxvae.distributions.flows import Chain, Permutation, Planar, Radial, Reversal

POINTS = np.random.default_rng(2).normal(size=(3, 4))
MIXED = (
    Permutation((2, 0, 3, 1)),
    Radial(jnp.ones(4), jnp.float32(0.4), jnp.float32(1.0)),
    Reversal(),
    Radial(-jnp.ones(4), jnp.float32(-0.4), jnp.float32(-2.0)),
)


def in_float64():
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), Chain(MIXED))


def test_coordinates_go_where_the_order_says_and_come_back():
    x = jnp.arange(4.0)
    y, log_det = MIXED[0].forward(x)
    assert (y.tolist(), float(log_det)) == ([2.0, 0.0, 3.0, 1.0], 0.0)
    np.testing.assert_array_equal(MIXED[0].inverse(y)[0], x)
    np.testing.assert_array_equal(Reversal().forward(x)[0], x[::-1])


def test_a_chain_applies_the_first_first_and_adds_log_determinants():
    x, total = jnp.asarray(POINTS[0], jnp.float32), 0.0
    got, log_det = Chain(MIXED).forward(x)
    for flow in MIXED:
        x, one = flow.forward(x)
        total = total + one
    assert_alike(got, x)
    np.testing.assert_allclose(log_det, total, rtol=1e-6, atol=SUM_ROUNDING)
    check_log_det(in_float64, POINTS)
    check_round_trip(in_float64, POINTS)


def test_what_is_static_has_no_leaves():
    assert jax.tree.leaves((Permutation((1, 0)), Reversal())) == []
    assert jax.tree.structure(Permutation((1, 0))) != jax.tree.structure(Permutation((0, 1)))


def test_a_chain_with_one_flow_that_has_no_inverse_names_it():
    plane = Planar(jnp.ones(4), jnp.ones(4), jnp.float32(0.0))
    with pytest.raises(ValueError, match="expected a flow with an inverse, got Planar"):
        Chain((plane, Reversal())).inverse(jnp.zeros(4))


@pytest.mark.parametrize("order", [(0, 0, 1), (1, 2, 3), (-1, 0)])
def test_an_order_names_every_index_once(order):
    with pytest.raises(ValueError, match=r"Permutation expected every index from 0 to"):
        Permutation(order)


def test_a_vector_of_another_length_is_refused():
    for method in (MIXED[0].forward, MIXED[0].inverse):
        with pytest.raises(ValueError, match=r"Permutation.* \(4,\), got \(3,\)"):
            method(jnp.zeros(3))
