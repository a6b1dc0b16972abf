from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from jaxvae import nn, ode, recipe

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEPS = ode.fixed_steps(0.05, max_steps=512)
AFFINE = nn.affine(2)


@partial(jax.jit, static_argnums=0)
def solve(field, params, z0, end):
    ts = jnp.asarray(end, z0.dtype)[None]
    return ode.solve(field, params, z0, ts, t0=0.0, integrator=STEPS).values[0]


def test_an_affine_field_acts_on_column_vectors():
    A, b = np.array([[-0.1, 1.0], [-0.2, -0.1]]), np.array([0.3, -0.5])
    z0 = np.array([1.0, 2.0])
    params = jax.tree.map(jnp.float32, {"A": A, "b": b})
    solution = solve(nn.autonomous(AFFINE), params, jnp.float32(z0), 1.7)
    # The exponential of the field on (z, 1), which makes an affine field linear.
    homogeneous = np.block([[A, b[:, None]], [np.zeros((1, 3))]])
    np.testing.assert_allclose(
        solution, (linalg.expm(1.7 * homogeneous) @ [*z0, 1.0])[:2], rtol=1e-5
    )


def test_a_fresh_affine_field_is_small_and_starts_without_drift():
    params = nn.affine(100).init(jax.random.key(0))
    np.testing.assert_allclose(np.std(params["A"]), 0.1, rtol=0.02)
    np.testing.assert_array_equal(params["b"], 0.0)


def test_a_bounded_field_is_the_scale_times_the_tanh_of_the_network():
    field = nn.bounded(nn.affine(2), 2, scale=3.0)
    params = field.init(jax.random.key(0))
    np.testing.assert_allclose(jnp.exp(params["log_scale"]), [3.0, 3.0], rtol=1e-6)
    params = {
        "network": {"A": jnp.array([[1.0, 2.0], [0.0, -1.0]]), "b": jnp.array([0.5, 0.0])},
        "log_scale": jnp.log(jnp.array([2.0, 0.1])),
    }
    got = field.apply(params, jnp.array([0.3, -0.4]))
    np.testing.assert_allclose(got, [2 * np.tanh(0.0), 0.1 * np.tanh(0.4)], atol=1e-7)
    np.testing.assert_allclose(
        field.apply(params, jnp.array([1e30, -1e30])), [-2.0, 0.1], rtol=1e-6
    )


def test_a_solution_of_a_bounded_field_moves_no_further_than_its_speed():
    field = nn.bounded(nn.affine(2), 2, scale=0.5)
    params = field.init(jax.random.key(0))
    params["network"] = {"A": jnp.array([[5.0, 0.0], [0.0, 5.0]]), "b": jnp.zeros(2)}
    z = solve(nn.autonomous(field), params, jnp.ones(2), 20.0)
    np.testing.assert_allclose(z, 1.0 + 0.5 * 20.0, rtol=1e-3)


def test_a_time_dependent_field_sees_the_time_last():
    network = nn.mlp((2,), (1,), hidden=())
    # dz/dt = 3 t - z with z(0) = 0, so z = 3 (t - 1 + e^-t).
    params = {"layers": {0: {"kernel": jnp.array([[-1.0], [3.0]]), "bias": jnp.zeros(1)}}}
    z = solve(nn.time_dependent(network), params, jnp.zeros(1), 2.0)
    np.testing.assert_allclose(z, 3 * (1 + np.exp(-2.0)), rtol=1e-5)


@pytest.mark.parametrize("adaptor", [nn.autonomous, nn.time_dependent])
def test_fields_of_one_network_are_equal_and_hash_alike(adaptor):
    network = nn.affine(2)
    assert adaptor(network) == adaptor(network)
    assert hash(adaptor(network)) == hash(adaptor(network))
    assert adaptor(network) != adaptor(nn.affine(2))
    assert nn.autonomous(network) != nn.time_dependent(network)


def test_an_augmented_field_swaps_two_points_of_a_line():
    """No flow on a line can: solutions would cross (Dupont et al., proposition 1)."""
    quarter_turn = {"A": jnp.array([[0.0, -1.0], [1.0, 0.0]]), "b": jnp.zeros(2)}
    field = nn.autonomous(AFFINE)
    ends = [solve(field, quarter_turn, nn.augment(jnp.array([x]), 1), jnp.pi) for x in (-1.0, 1.0)]
    np.testing.assert_allclose([end[:1] for end in ends], [[1.0], [-1.0]], rtol=1e-5)


def test_augmenting_appends_zeros():
    np.testing.assert_array_equal(nn.augment(jnp.array([1.0, 2.0]), 2), [1.0, 2.0, 0.0, 0.0])
    np.testing.assert_array_equal(nn.augment(jnp.array([1.0, 2.0]), 0), [1.0, 2.0])
    with pytest.raises(ValueError, match=r"extra of nn\.augment expected an integer from 0 on"):
        nn.augment(jnp.zeros(2), -1)


def test_a_field_has_a_recipe():
    made = partial(nn.bounded, partial(nn.mlp, (3,), (3,), activation=nn.tanh), 3, scale=2.0)
    field = recipe.build(recipe.from_json(recipe.to_json(made)))
    params, z = field.init(jax.random.key(0)), jnp.ones(3)
    direct = nn.bounded(nn.mlp((3,), (3,), activation=jnp.tanh), 3, scale=2.0)
    np.testing.assert_array_equal(field.apply(params, z), direct.apply(params, z))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"dim of nn\.affine expected a positive integer, got 0"):
        nn.affine(0)
    with pytest.raises(ValueError, match=r"nn\.bounded expected a positive scale, got -1"):
        nn.bounded(nn.affine(2), 2, scale=-1.0)
    network = nn.affine(2)
    with pytest.raises(ValueError, match=r"nn\.affine expected one event of shape \(2,\)"):
        network.apply(network.init(jax.random.key(0)), jnp.zeros(3))
