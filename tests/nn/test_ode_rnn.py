from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from partly_observed import series
from scipy import linalg

from jaxvae import nn, ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

CHANNELS, HIDDEN = 2, 4
INTEGRATORS = {
    "reversible": ode.fixed_steps(
        1 / 32, solver=ode.Tsit5(), adjoint=ode.Reversible(), max_steps=32
    ),
    "adaptive": ode.adaptive(1e-6, 1e-7, max_steps=64),
}
# The program of adaptive steps takes many times as long to compile.
each_integrator = pytest.mark.parametrize(
    "integrator",
    [
        INTEGRATORS["reversible"],
        pytest.param(INTEGRATORS["adaptive"], marks=pytest.mark.exhaustive),
    ],
    ids=INTEGRATORS,
)


def made(**options):
    return nn.ode_rnn(CHANNELS, HIDDEN, field=nn.affine(HIDDEN), **options)


@cache
def fresh(cell=nn.gru_cell):
    return jax.jit(nn.recurrent_encoder(made(cell=cell), 3).init)(jax.random.key(0))


@pytest.mark.parametrize("cell", [nn.rnn_cell, nn.gru_cell])
def test_where_nothing_moves_it_is_a_recurrent_network_without_time(cell):
    encoder, params = nn.recurrent_encoder(made(cell=cell), 3), fresh(cell)
    weights = params["recurrence"]
    still = jax.tree.map(jnp.zeros_like, weights["field"])
    plain = nn.recurrent_encoder(nn.recurrent(CHANNELS, HIDDEN, cell=cell, with_gaps=False), 3)
    np.testing.assert_allclose(
        jax.jit(encoder.apply)(params | {"recurrence": weights | {"field": still}}, *series()),
        jax.jit(plain.apply)(params | {"recurrence": weights["cell"]}, *series()),
        rtol=1e-5,
        atol=1e-6,
    )


WEIGHTS = np.cos(np.arange(5 * HIDDEN, dtype=np.float32)).reshape(5, HIDDEN)


@cache
def evolved(integrator):
    """States after five gaps, and the gradients of their weighted sum by matrix, state and gaps."""
    over_gaps = jax.vmap(made(integrator=integrator).evolve, (None, None, 0))

    def total(A, h, gaps):
        states = over_gaps({"field": {"A": A, "b": jnp.zeros(HIDDEN)}}, h, gaps)
        return jnp.sum(WEIGHTS * states), states

    return jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))


def exactly(A, h, gaps):
    return jnp.sum(WEIGHTS * jax.vmap(lambda gap: jax.scipy.linalg.expm(gap * A) @ h)(gaps))


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    return np.float32(rng.normal(size=(HIDDEN, HIDDEN))), np.float32(rng.normal(size=HIDDEN))


@each_integrator
def test_between_rows_a_linear_field_is_solved_and_a_gap_of_zero_changes_nothing(
    linear, integrator
):
    A, h = linear
    gaps = np.float32([0.01, 0.5, 1.0, 2.0, 0.0])
    gradients, states = evolved(integrator)(A, h, gaps)
    expected = [linalg.expm(np.float64(gap) * A) @ h for gap in gaps]
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(states[4], h)
    for found, exact in zip(
        gradients, jax.jit(jax.grad(exactly, (0, 1, 2)))(A, h, gaps), strict=True
    ):
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-3 * np.abs(exact).max())


def test_by_default_a_gap_takes_four_steps_of_euler(linear):
    A, h = linear
    gaps = np.float32([0.5, 2.0, 0.0, 1.0, 3.0])
    expected = [np.linalg.matrix_power(np.eye(HIDDEN) + g * A / 4, 4) @ h for g in gaps]
    by_solve = ode.fixed_steps(0.25, solver=ode.Euler(), max_steps=4)
    params = {"field": {"A": jnp.asarray(A), "b": jnp.zeros(HIDDEN)}}
    for integrator in (None, by_solve):
        over_gaps = jax.jit(jax.vmap(made(integrator=integrator).evolve, (None, None, 0)))
        states = over_gaps(params, h, gaps)
        np.testing.assert_allclose(states, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(states[2], h)


@each_integrator
def test_a_solve_that_fails_is_not_passed_over(linear, integrator):
    _, states = evolved(integrator)(*linear, np.full(5, 1e3, np.float32))
    assert np.isnan(states).all()


def test_the_field_by_default_is_a_bounded_perceptron():
    recurrence = nn.ode_rnn(CHANNELS, HIDDEN)
    field = jax.jit(recurrence.init)(jax.random.key(0))["field"]
    assert field["network"]["layers"][0]["kernel"].shape == (HIDDEN, 50)
    np.testing.assert_array_equal(field["log_scale"], jnp.zeros(HIDDEN))
