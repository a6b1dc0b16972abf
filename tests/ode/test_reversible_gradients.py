from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reversible_runs import (
    HEUN,
    SWING,
    TSIT5,
    linear,
    network,
    network_params,
    straight,
    swing,
    weighted,
    worst,
)

from jaxvae.ode import RK4, reversible_solve

GROWTH = 10.0  # lambda = n / (n + GROWTH) by default


@pytest.mark.parametrize(
    ("tableau", "order"),
    [(HEUN, 2), (diffrax.Bosh3.tableau, 3), (RK4.tableau, 4), (TSIT5, 5)],
    ids=["Heun", "Bosh3", "RK4", "Tsit5"],
)
def test_values_have_the_order_of_the_method(tableau, order):
    # z' = s cos(s t) z from 0 to T = n dt0 has z = exp(sin(s t)); s T = 6.
    def field(t, z, s):
        return s * jnp.cos(s * t) * z

    def error(n):
        solution = reversible_solve(
            field, 6.0 / n, jnp.ones(1), jnp.stack([0.0 * n, 0.5 * n, n]),
            tableau=tableau, dt0=1.0, max_steps=1000,
        )  # fmt: skip
        exact = jnp.exp(jnp.sin(jnp.array([3.0, 6.0])))
        return jnp.max(jnp.abs(solution.values[1:, 0] - exact)), solution.steps

    with jax.enable_x64(True):
        steps = jnp.array([64.0, 128.0, 256.0])
        errors, taken = jax.jit(jax.vmap(error))(steps)
    assert taken.tolist() == [64, 128, 256]
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), order, atol=0.3)


@pytest.mark.parametrize(
    ("tableau", "direction", "coupling"),
    [(diffrax.Bosh3.tableau, 1.0, None), (RK4.tableau, -1.0, 0.9)],
)
def test_the_gradient_is_that_of_the_scheme(tableau, direction, coupling):
    with jax.enable_x64(True):
        times = direction * jnp.array([0.2, 0.5, 1.3, 1.3, 1.6, 1.6])
        counts = [3, 8, 0, 3, 0]
        effective = sum(counts) / (sum(counts) + GROWTH) if coupling is None else coupling
        params, z0 = network_params(3), jnp.array([1.0, -0.5, 0.2])

        def ours(params, z0, ts):
            solution = reversible_solve(
                network, params, z0, ts, tableau=tableau, dt0=0.1, max_steps=14, coupling=coupling
            )
            return weighted(solution.values)

        def theirs(params, z0, ts):
            return weighted(straight(network, params, z0, ts, counts, tableau, effective))

        value, gradient = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(params, z0, times)
        expected, exact = jax.jit(jax.value_and_grad(theirs, (0, 1, 2)))(params, z0, times)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    assert worst(gradient, exact) < 1e-12


def test_the_gradient_of_the_times_is_the_slope_of_the_values():
    with jax.enable_x64(True):
        ts, params = jnp.array([0.0, 0.33, 0.95]), jnp.asarray(SWING, float)

        @jax.jit
        @jax.value_and_grad
        def run(ts):
            solution = reversible_solve(
                swing, params, jnp.ones(3), ts, tableau=RK4.tableau, dt0=0.1, max_steps=20
            )
            return weighted(solution.values)

        _, slope = run(ts)
        for i, shift in enumerate(1e-5 * np.eye(3)):
            difference = (run(ts + shift)[0] - run(ts - shift)[0]) / 2e-5
            np.testing.assert_allclose(slope[i], difference, rtol=1e-8)


CIRCLE = np.array([[0.0, -2.0 * np.pi], [2.0 * np.pi, 0.0]]), np.array([1.0, 0.3])


SPIRAL = 25.0 * np.array([[-0.1, 1.0], [-0.2, -0.1]]), np.array([2.0, 0.0])


@partial(jax.jit, static_argnums=0)
def in_unit_steps(inner, params, z0, n):
    """The gradient of n steps of one, by parameters, start and end."""

    def field(t, z, scaled):
        params, scale = scaled
        return jax.tree.map(lambda x: scale * x, inner(scale * t, z, params))

    def loss(params, z0, end):
        settings = {"tableau": diffrax.Midpoint.tableau, "dt0": 1.0, "max_steps": 10**4}
        ts = jnp.stack([0.0 * end, 0.5 * end, end])
        return weighted(reversible_solve(field, (params, 1.0 / n), z0, ts, **settings).values)

    return jax.grad(loss, (0, 1, 2))(params, z0, n)


@pytest.mark.parametrize("problem", ["circle", "spiral", "network"])
def test_the_gradient_in_float32_has_its_digits(problem):
    with jax.enable_x64(True):
        params, z0 = {
            "circle": CIRCLE,
            "spiral": SPIRAL,
            "network": (network_params(64), np.random.default_rng(2).normal(size=64)),
        }[problem]
        gradient = partial(in_unit_steps, network if problem == "network" else linear)
        for n in (100.0, 1000.0, 10000.0):
            single, double = (
                gradient(*jax.tree.map(lambda x: np.asarray(x, dtype), (params, z0, n)))  # noqa: B023
                for dtype in (np.float32, np.float64)
            )
            assert worst(single, double) < 1e-5, n


def test_memory_does_not_grow_with_the_number_of_steps():
    def temporary(steps):
        def loss(params, z0):
            solution = reversible_solve(
                linear, params, z0, jnp.array([0.0, 1.0]),
                tableau=HEUN, dt0=1.0 / steps, max_steps=steps,
            )  # fmt: skip
            return jnp.sum(solution.values[-1])

        compiled = jax.jit(jax.grad(loss)).lower(jnp.eye(32), jnp.ones(32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporary(100), temporary(10_000)
    assert many <= 1.05 * few
    # Less than what the states alone would take.
    assert many < 4 * 32 * 10_000
