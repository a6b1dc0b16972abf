from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from partly_observed import series
from scipy import linalg

from jaxvae import nn, ode

CHANNELS, HIDDEN = 2, 4
TIGHT = ode.adaptive(1e-6, 1e-7, max_steps=64)


def made(**options):
    recurrence = nn.ode_rnn(CHANNELS, HIDDEN, field=nn.affine(HIDDEN), **options)
    encoder = nn.recurrent_encoder(recurrence, 3)
    return recurrence, encoder, jax.jit(encoder.init)(jax.random.key(0))


@pytest.mark.parametrize("cell", [nn.rnn_cell, nn.gru_cell])
def test_where_nothing_moves_it_is_a_recurrent_network_without_time(cell):
    _, encoder, params = made(cell=cell)
    weights = params["recurrence"]
    still = jax.tree.map(jnp.zeros_like, weights["field"])
    plain = nn.recurrent_encoder(nn.recurrent(CHANNELS, HIDDEN, cell=cell, with_gaps=False), 3)
    np.testing.assert_allclose(
        jax.jit(encoder.apply)(params | {"recurrence": weights | {"field": still}}, *series()),
        jax.jit(plain.apply)(params | {"recurrence": weights["cell"]}, *series()),
        rtol=1e-5,
    )


def evolved(integrator, A, h, gaps):
    recurrence, _, params = made(integrator=integrator)
    params = params["recurrence"] | {"field": {"A": jnp.float32(A), "b": jnp.zeros(HIDDEN)}}
    over_gaps = jax.jit(jax.vmap(recurrence.evolve, (None, None, 0)))
    return over_gaps(params, jnp.float32(h), jnp.float32(gaps))


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    return rng.normal(size=(HIDDEN, HIDDEN)), rng.normal(size=HIDDEN)


def test_between_rows_a_linear_field_is_solved_and_a_gap_of_zero_changes_nothing(linear):
    A, h = linear
    gaps = [0.01, 1.0, 3.0, 0.0]
    got = evolved(TIGHT, A, h, gaps)
    expected = [linalg.expm(gap * A) @ h for gap in gaps]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got[3], np.float32(h))


def test_by_default_a_gap_takes_four_steps_of_euler(linear):
    A, h = linear
    gaps = [0.5, 2.0, 0.0]
    expected = [np.linalg.matrix_power(np.eye(HIDDEN) + g * A / 4, 4) @ h for g in gaps]
    by_solve = ode.fixed_steps(0.25, solver=ode.Euler(), max_steps=4)
    for integrator in (None, by_solve):
        got = evolved(integrator, A, h, gaps)
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        np.testing.assert_array_equal(got[2], np.float32(h))


def test_a_solve_that_fails_is_not_passed_over(linear):
    A, h = linear
    steps = ode.adaptive(1e-6, 1e-7, max_steps=2)
    assert np.isnan(evolved(steps, A, h, [3.0])).all()


def test_gradients_of_a_batch_through_an_adaptive_solver_are_those_of_the_solution():
    decay = nn.Network(lambda key: jax.random.uniform(key, (HIDDEN,)), lambda rate, h: -rate * h)
    solving = nn.ode_rnn(CHANNELS, HIDDEN, field=decay, integrator=TIGHT)
    exact = solving._replace(evolve=lambda p, h, gap: h * jnp.exp(-p["field"] * gap))
    times, values, mask = jax.tree.map(lambda *x: jnp.stack(x), series(), series(full=True))
    params = jax.jit(nn.recurrent_encoder(exact, 3).init)(jax.random.key(0))

    def gradient(recurrence):
        encode = jax.vmap(nn.recurrent_encoder(recurrence, 3).apply, (None, 0, 0, 0))

        def total(params, times):
            return jnp.sum(jnp.square(encode(params, times, values, mask)))

        return jax.jit(jax.grad(total, (0, 1)))(params, times)

    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, gradient(solving), gradient(exact))


def test_the_field_by_default_is_a_bounded_perceptron():
    recurrence = nn.ode_rnn(CHANNELS, HIDDEN)
    field = recurrence.init(jax.random.key(0))["field"]
    assert field["network"]["layers"][0]["kernel"].shape == (HIDDEN, 50)
    np.testing.assert_array_equal(field["log_scale"], jnp.zeros(HIDDEN))
