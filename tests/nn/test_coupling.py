import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import check_log_det, check_round_trip, randomised, total_mass

from jaxvae.distributions import Normal, Transformed
from jaxvae.distributions.flows import Chain, Reversal
from jaxvae.nn import Coupling, coupling_mlp

pytestmark = pytest.mark.usefixtures("quick_compilation")

POINTS = np.random.default_rng(5).normal(size=(3, 5))


@jax.jit
def forward(flow, x):
    return flow.forward(x)


def block(size=5, hidden=(16,), context=4, seed=0, scale=0.5):
    """With every weight drawn, as the last layer of a fresh one is zero."""
    network = coupling_mlp(size, hidden=hidden, context=context)
    weights = randomised(jax.eval_shape(network.init, jax.random.key(0)), seed, scale)
    h = np.random.default_rng(seed + 1).normal(size=context)
    return Coupling(weights, jnp.asarray(h, weights[0]["bias"].dtype))


@pytest.mark.parametrize(("hidden", "context"), [((16,), 4), ((9, 9), 0), ((), 3)])
def test_log_determinant_is_that_of_the_jacobian_and_the_inverse_leads_back(hidden, context):
    check_log_det(lambda: block(hidden=hidden, context=context), POINTS)
    check_round_trip(lambda: block(hidden=hidden, context=context), POINTS)


def test_one_coordinate_is_scaled_and_shifted_by_the_context():
    check_log_det(lambda: block(1), POINTS[:, :1])
    check_round_trip(lambda: block(1), POINTS[:, :1])
    with pytest.raises(ValueError, match="two coordinates or more, or a context"):
        coupling_mlp(1, hidden=(3,))


def test_the_first_half_is_kept_and_decides_on_the_second():
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda x: block().forward(x)[0]))(jnp.ones(5)))
    np.testing.assert_array_equal(jacobian[:2], np.eye(5)[:2])
    assert np.all(jacobian[2:, :2] != 0)
    np.testing.assert_array_equal(jacobian[2:, 2:], np.diag(np.diagonal(jacobian)[2:]))


def test_a_fresh_block_is_the_identity():
    weights = jax.jit(coupling_mlp(5, hidden=(8,), context=2).init)(jax.random.key(0))
    x = jnp.float32(POINTS[0])
    y, log_det = forward(Coupling(weights, jnp.array([5.0, -3.0])), x)
    np.testing.assert_array_equal(y, x)
    assert log_det == 0


def test_no_weight_scales_by_more_than_e_squared():
    for seed in range(5):
        _, log_det = forward(block(scale=50.0, seed=seed), jnp.full(5, 30.0))
        assert abs(log_det) <= 3 * 2.0 + 1e-5


def test_the_density_integrates_to_one():
    flow = Chain((block(2, seed=3), Reversal(), block(2, seed=4), Reversal()))
    q = Transformed(Normal(jnp.array([0.1, 0.2]), jnp.array([-0.3, -0.1])), flow)
    np.testing.assert_allclose(total_mass(q, reach=20.0, points=501), 1.0, atol=1e-4)


def test_an_event_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"Coupling.inverse expected .*\(5,\), got \(4,\)"):
        block().inverse(jnp.zeros(4))


@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("given", [0, 3, 5, 9])
def test_a_context_that_the_weights_were_not_made_for_is_refused(size, given):
    flow = Coupling(block(size).weights, jnp.zeros(given))
    seen = size // 2 + 4
    with pytest.raises(
        ValueError,
        match=rf"{seen} inputs of its network, .* got {size // 2} and {given}; .*context=",
    ):
        flow.forward(jnp.zeros(size))


def test_a_negative_length_of_the_context_is_refused():
    with pytest.raises(ValueError, match=r"context of nn.coupling_mlp expected .* got -1"):
        coupling_mlp(5, hidden=(), context=-1)
