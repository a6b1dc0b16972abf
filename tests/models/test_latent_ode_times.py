"""The times of a latent ODE: common ones, both sides of the start, and their own likelihood."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_latent_ode import (
    EXACT,
    NOISE,
    TIMES,
    A,
    C,
    bound,
    constant_encoder,
    likelihood_of,
    linear_model,
    random_model,
    series,
    true_parameters,
)

from jaxvae import map_examples, models, nn
from jaxvae.series import Grid

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_common_times_give_the_bounds_of_own_times_in_any_order():
    own, params = random_model()
    shared, _ = random_model(common=True)
    many = jax.vmap(series)(jax.random.split(jax.random.key(5), 4))

    def bounds(model, times, rows):
        def one(row):
            return bound(model, params, row, Grid(row.times if times else None, row.mask))

        return jax.jit(partial(map_examples, one))(rows)

    alone, together = bounds(own, True, many), bounds(shared, False, many)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    turned = bounds(shared, False, jax.tree.map(lambda x: x[::-1], many))
    np.testing.assert_array_equal(turned[::-1], together)


def test_predictions_go_forwards_and_backwards_from_the_start():
    model, params = random_model()
    z0 = jnp.array([0.3, -0.8])
    everything = jnp.ones((3, 2), bool)
    for times in ([0.5, 2.0, 4.0], [-0.5, -1.0, -3.0]):
        likelihood = jax.jit(model.likelihood)(params, z0, Grid(jnp.array(times), everything))
        expected = [C @ jax.scipy.linalg.expm(A * t) @ z0 for t in times]
        np.testing.assert_allclose(likelihood.mean, np.stack(expected), rtol=1e-4, atol=1e-5)


def straddling_model(start, **options):
    """The linear model whose state is that of another time than the first."""
    return linear_model(constant_encoder(np.zeros(4)), common=True, start=start, **options)


@pytest.mark.parametrize("start", [-0.4, 0.3, 0.9, 2.0, 2.5])
def test_common_times_on_both_sides_of_the_start_are_reached_from_it(start):
    model = straddling_model(start)
    params, z0 = true_parameters(model), jnp.array([0.3, -0.8])
    likelihood = likelihood_of(model, params, z0, Grid(None, jnp.ones((5, 2), bool)))
    expected = [C @ jax.scipy.linalg.expm(A * (t - start)) @ z0 for t in TIMES]
    np.testing.assert_allclose(likelihood.mean, np.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", [0.0, 0.9, 2.5])
def test_a_rate_is_integrated_on_both_sides_of_the_start(start):
    rate = nn.Network(lambda key: None, lambda params, z: jnp.log(1.7) + 0 * z[:1])
    model = straddling_model(start, rate=rate)
    params = true_parameters(model)
    likelihood = likelihood_of(model, params, jnp.zeros(2), Grid(None, jnp.ones((5, 2), bool)))
    assert float(likelihood.expected) == pytest.approx(1.7 * max(2.0, start), rel=1e-5)


def test_times_of_a_constant_rate_have_the_density_of_a_poisson_process():
    """p(t) = exp(-rate T) rate^N for N rows with an observation within the time T."""
    rate = 1.7
    inputs = series(jax.random.key(1))
    options = {
        "encoder": constant_encoder(np.zeros(4)),
        "dynamics": nn.affine(2),
        "decoder": nn.affine(2),
        "latent_dim": 2,
        "channels": 2,
        "integrator": EXACT,
        "likelihood": models.normal(NOISE),
    }
    plain = models.latent_ode(**options)
    timed = models.latent_ode(
        **options, rate=nn.Network(lambda key: None, lambda params, z: jnp.log(rate) + 0 * z[:1])
    )
    params = true_parameters(plain)
    both = params._replace(generative=params.generative | {"rate": None})
    z0, grid = jnp.array([0.4, -0.2]), Grid(inputs.times, inputs.mask)
    values, with_times = (
        float(jax.jit(model.likelihood)(own, z0, grid).log_prob(inputs.values))
        for model, own in ((plain, params), (timed, both))
    )
    observed = int(inputs.mask.any(1).sum())
    expected = observed * np.log(rate) - rate * TIMES[-1]
    assert with_times - values == pytest.approx(expected, rel=1e-5)


def test_a_rate_that_grows_with_the_state_is_integrated():
    """For exp(z) with z' = 1 the integral from 0 to T is exp(T) - 1."""
    ramp = nn.Network(lambda key: None, lambda params, z: jnp.ones_like(z))
    model = models.latent_ode(
        encoder=constant_encoder(np.zeros(2)),
        dynamics=ramp,
        decoder=nn.affine(1),
        latent_dim=1,
        channels=1,
        integrator=EXACT,
        likelihood=models.normal(1.0),
        rate=nn.Network(lambda key: None, lambda params, z: z),
    )
    params = model.init(jax.random.key(0))
    grid = Grid(jnp.array([1.0, 2.0, 2.0]), jnp.array([[True], [True], [False]]))
    likelihood = jax.jit(model.likelihood)(params, jnp.zeros(1), grid)
    assert float(likelihood.expected) == pytest.approx(np.expm1(2.0), rel=1e-5)
    np.testing.assert_allclose(likelihood.log_rates[:2], [1.0, 2.0], rtol=1e-5)
    np.testing.assert_array_equal(likelihood.counted, [True, True, False])
