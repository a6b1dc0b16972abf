from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import check_log_det, check_round_trip, randomised, total_mass

from jaxvae.distributions import Normal, Transformed
from jaxvae.distributions.flows import Chain, Reversal
from jaxvae.nn import InverseAutoregressive, masked_mlp

pytestmark = pytest.mark.usefixtures("quick_compilation")

POINTS = np.random.default_rng(3).normal(size=(3, 6))


def drawn(network, seed=0, scale=1.0):
    """Every weight, as the last layer of fresh ones is zero."""
    return randomised(jax.eval_shape(network.init, jax.random.key(0)), seed, scale)


@jax.jit
def forward(flow, x):
    return flow.forward(x)


def block(size=6, hidden=(16,), context=4, seed=0, scale=0.3):
    weights = drawn(masked_mlp(size, outputs=2, hidden=hidden, context=context), seed, scale)
    h = np.random.default_rng(seed + 1).normal(size=context)
    return InverseAutoregressive(weights, jnp.asarray(h, weights["direct"].dtype))


FEW = [(1, (3,), 4), (2, (), 0), (6, (), 4), (6, (3,), 0), (6, (11, 5, 16), 4)]
ALL = list(product([1, 2, 6], [(), (3,), (16,), (11, 5, 16)], [0, 4]))


@pytest.mark.parametrize(
    "cases", [FEW, pytest.param(ALL, marks=pytest.mark.exhaustive)], ids=["few", "all"]
)
def test_outputs_see_the_inputs_before_them_and_nothing_else(cases):
    networks = [masked_mlp(d, outputs=3, hidden=hidden, context=c) for d, hidden, c in cases]

    @jax.jit
    def jacobians(weights):
        return [
            jax.jacfwd(network.apply, (1, 2))(each, jnp.linspace(-1.0, 1.0, d), jnp.ones(c))
            for network, each, (d, _, c) in zip(networks, weights, cases, strict=True)
        ]

    found = jacobians([drawn(network) for network in networks])
    for case, (by_input, by_context) in zip(cases, found, strict=True):
        size, _, context = case
        assert by_input.shape == (3, size, size), case
        before = np.broadcast_to(np.tril(np.ones((size, size)), -1) > 0, by_input.shape)
        np.testing.assert_array_equal(np.asarray(by_input) != 0, before, err_msg=str(case))
        assert not context or np.all(np.asarray(by_context) != 0), case


def test_without_direct_connections_the_hidden_units_carry_every_dependence():
    network = masked_mlp(6, outputs=1, hidden=(12, 12), context=0)
    params = drawn(network)
    params["direct"] = jnp.zeros_like(params["direct"])
    by_input = jax.jit(jax.jacfwd(network.apply, 1))(params, jnp.ones(6), jnp.zeros(0))
    jacobian = np.asarray(by_input)[0]
    np.testing.assert_array_equal(jacobian != 0, np.tril(np.ones((6, 6)), -1) > 0)


def test_a_fresh_network_gives_zero_and_its_last_layer_learns_at_once():
    network = masked_mlp(6, outputs=2, hidden=(16,), context=4)

    @jax.jit
    def run(key):
        params, x, h = network.init(key), jnp.ones(6), jnp.ones(4)
        gradient = jax.grad(lambda p: jnp.sum(network.apply(p, x, h)))(params)
        return params, network.apply(params, x, h), gradient

    params, output, gradient = run(jax.random.key(1))
    np.testing.assert_array_equal(output, np.zeros((2, 6)))
    first = np.asarray(params["layers"][0]["kernel"])
    assert 0.2 < np.std(first) * np.sqrt(3) < 1.0
    for leaf in jax.tree.leaves(gradient["layers"][1]):
        assert np.any(leaf != 0)


@pytest.mark.parametrize("size", [4, 64])
def test_weights_that_agree_add_up_to_less_than_one_of_them(size):
    weights = drawn(masked_mlp(size, outputs=2, hidden=()), scale=0.0)
    shifts = np.repeat(np.float32([[1.0, 0.0]]), size, axis=1) * np.ones((size, 1), np.float32)
    flow = InverseAutoregressive(weights | {"direct": jnp.asarray(shifts)}, jnp.zeros(0))
    y, _ = forward(flow, jnp.ones(size))
    np.testing.assert_allclose(y - 1.0, np.arange(size) / size, rtol=1e-5)


def test_masked_weights_have_no_gradient():
    flow = block()
    gradient = jax.jit(jax.grad(lambda flow: jnp.sum(flow.forward(jnp.ones(6))[0])))(flow).weights
    direct = np.asarray(gradient["direct"]).reshape(6, 2, 6)
    below = np.triu(np.ones((6, 6)), 1) > 0  # input j reaches output i > j
    np.testing.assert_array_equal(np.any(direct != 0, axis=1), below)


@pytest.mark.parametrize(("hidden", "context"), [((16,), 4), ((9, 9), 0), ((), 3)])
def test_log_determinant_is_that_of_the_jacobian_and_the_inverse_leads_back(hidden, context):
    check_log_det(lambda: block(hidden=hidden, context=context), POINTS)
    check_round_trip(lambda: block(hidden=hidden, context=context), POINTS)


def test_the_jacobian_is_triangular_with_the_gates_on_its_diagonal():
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda x: block().forward(x)[0]))(jnp.ones(6)))
    np.testing.assert_array_equal(np.triu(jacobian, 1), 0.0)
    assert np.all((np.diagonal(jacobian) > 0) & (np.diagonal(jacobian) < 2))
    assert np.all(jacobian[np.tril_indices(6, -1)] != 0)


def test_a_fresh_block_is_the_identity():
    network, x = masked_mlp(6, outputs=2, hidden=(8,), context=2), jnp.float32(POINTS[0])
    weights = jax.jit(network.init)(jax.random.key(0))
    y, log_det = forward(InverseAutoregressive(weights, jnp.array([5.0, -3.0])), x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(log_det, 0.0, atol=1e-6)


def test_a_coordinate_whose_turn_has_not_come_does_no_harm():
    """The second gate is e^-198 at zero, where the search begins, and ordinary at the answer."""
    weights = drawn(masked_mlp(2, outputs=2, hidden=()), scale=0.0)
    weights["layers"][0]["bias"] = jnp.array([0.0, 0.0, 0.0, -200.0])
    weights["direct"] = jnp.array([[0.0, 0.0, 0.0, 200.0], [0.0] * 4])
    flow, x = InverseAutoregressive(weights, jnp.zeros(0)), jnp.array([1.0, 0.5])
    back = jax.jit(lambda flow, x: flow.inverse(flow.forward(x)[0])[0])
    np.testing.assert_allclose(back(flow, x), x, rtol=1e-4)


def test_the_density_integrates_to_one():
    flow = Chain((block(2, seed=3, scale=0.3), Reversal(), block(2, seed=4, scale=0.3)))
    q = Transformed(Normal(jnp.array([0.5, 0.2]), jnp.array([0.2, 0.1])), flow)
    np.testing.assert_allclose(total_mass(q, reach=14.0, points=501), 1.0, atol=1e-4)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match=r"a width of nn.masked_mlp expected .* got 0"):
        masked_mlp(3, outputs=2, hidden=(0,))
    with pytest.raises(ValueError, match=r"InverseAutoregressive.forward .*\(6,\), got \(5,\)"):
        block().forward(jnp.zeros(5))
    with pytest.raises(ValueError, match=r"context of nn.masked_mlp expected .* -2; 0 means none"):
        masked_mlp(3, outputs=2, hidden=(), context=-2)


@pytest.mark.parametrize(("made", "given"), [(4, 3), (0, 3), (4, 0)])
def test_a_context_that_the_weights_were_not_made_for_is_refused(made, given):
    flow = InverseAutoregressive(block(context=made).weights, jnp.zeros(given))
    for method in (flow.forward, flow.inverse):
        with pytest.raises(ValueError, match=rf"context of shape \({made},\), got \({given},\)"):
            method(jnp.zeros(6))


def test_weights_with_another_number_of_outputs_are_refused():
    weights = drawn(masked_mlp(6, outputs=3, hidden=()))
    with pytest.raises(ValueError, match=r"a shift and a gate .* got 3 outputs; .*outputs=2"):
        InverseAutoregressive(weights, jnp.zeros(0)).forward(jnp.zeros(6))
