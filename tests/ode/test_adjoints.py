"""Gradients of every adjoint: against exp(At), under vmap, in a scan, at irregular times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_problems import ADJOINTS, SPIRAL, START, assert_close, flow, gradient, integrator, linear

from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

TIMES = [0.0, 0.3, 0.35, 1.7, 2.0]
WEIGHTS = np.cos(np.arange(10.0)).reshape(5, 2)
ALL = pytest.mark.parametrize("adjoint", ADJOINTS.values(), ids=ADJOINTS)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def solved(adjoint, a, z0, ts):
    return ode.solve(linear, a, z0, ts, integrator=integrator(adjoint)).values


def weighted(values):
    return jnp.sum(values * WEIGHTS)


def exact(a, z0, ts):
    return jax.vmap(lambda t: flow(a, z0, t))(ts - ts[0])


def arguments():
    return jnp.array(SPIRAL), jnp.array(START), jnp.array(TIMES)


@ALL
def test_gradients_are_those_of_the_closed_form(adjoint):
    a, z0, ts = arguments()

    def gradients(solution, differentiate):
        return jax.jit(
            lambda a, z0: differentiate(
                lambda a, z0: weighted(solution(a, z0, ts)), argnums=(0, 1)
            )(a, z0)
        )(a, z0)

    found = gradients(lambda *inputs: solved(adjoint, *inputs), gradient(adjoint))
    assert_close(found, gradients(exact, jax.grad), 1e-7)


@ALL
def test_a_batch_of_irregular_times_gives_the_gradients_of_its_series(adjoint):
    a, z0, ts = arguments()
    starts = jnp.stack([z0, -z0, z0[::-1]])
    times = jnp.stack([ts, jnp.square(ts), -ts])

    def one(a, z0, ts):
        return gradient(adjoint)(lambda a: weighted(solved(adjoint, a, z0, ts)))(a)

    together = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))(a, starts, times)
    alone = jax.jit(one)
    singles = jnp.stack([alone(a, *each) for each in zip(starts, times, strict=True)])
    assert_close(together, singles, 1e-9)


@ALL
def test_in_a_scan_from_time_to_time(adjoint):
    a, z0, ts = arguments()

    def total(a):
        def step(z, pair):
            z = solved(adjoint, a, z, pair)[-1]
            return z, z

        pairs = jnp.stack([ts[:-1], ts[1:]], 1)
        _, values = jax.lax.scan(step, z0, pairs)
        return jnp.sum(values * WEIGHTS[1:])

    found = jax.jit(gradient(adjoint)(total))(a)
    expected = jax.jit(jax.grad(lambda a: jnp.sum((exact(a, z0, ts) * WEIGHTS)[1:])))(a)
    assert_close(found, expected, 1e-7)


@ALL
def test_gradients_of_the_times(adjoint):
    a, z0, ts = arguments()

    def total(ts):
        return weighted(solved(adjoint, a, z0, ts))

    if isinstance(adjoint, ode.Backsolve):
        with pytest.raises(Exception, match=r"(?i)backsolve|differentiat|perturb"):
            jax.jit(jax.grad(total))(ts)
        return
    found = jax.jit(gradient(adjoint)(total))(ts)
    expected = jax.grad(lambda ts: weighted(exact(a, z0, ts)))(ts)
    # Between steps a solver's interpolant stands for the solution, to a lower order.
    assert_close(found, expected, 2e-5)


@pytest.mark.parametrize("name", ["checkpointed", "few checkpoints", "direct", "reversible"])
def test_exact_adjoints_differentiate_the_numbers_computed(name):
    """Coarse steps, far from the solution: finite differences of the same steps agree."""
    a, z0, ts = arguments()
    coarse = ode.fixed_steps(0.5, adjoint=ADJOINTS[name], max_steps=8)

    def total(a):
        return weighted(ode.solve(linear, a, z0, ts, integrator=coarse).values)

    direction = jnp.array([[0.3, -0.2], [0.5, 0.1]])
    slope = jax.jit(lambda a: jnp.sum(jax.grad(total)(a) * direction))(a)
    along = jax.jit(lambda h: total(a + h * direction))
    differences = (8 * (along(1e-3) - along(-1e-3)) - (along(2e-3) - along(-2e-3))) / 12e-3
    assert_close(slope, differences, 1e-9)
    solution = weighted(exact(a, z0, ts))
    assert abs(along(0.0) - solution) > 1e-6


def test_the_backsolve_gradient_of_coarse_steps_is_another():
    a, z0, ts = arguments()

    def slope(adjoint):
        coarse = ode.fixed_steps(0.5, adjoint=adjoint, max_steps=8)
        return jax.jit(
            jax.grad(lambda a: weighted(ode.solve(linear, a, z0, ts, integrator=coarse).values))
        )(a)

    difference = jnp.abs(slope(ode.Backsolve()) - slope(ode.Checkpointed())).max()
    assert 1e-7 < difference < 1e-1


def test_the_seminorm_saves_evaluations_of_the_backward_solve():
    a, z0, _ = arguments()
    ts = jnp.array([0.0, 20.0])
    counts = {}

    def evaluated(seminorm):
        calls = []

        def field(t, z, a):
            jax.debug.callback(lambda _: calls.append(1), t)
            return linear(t, z, a)

        loose = ode.adaptive(1e-6, 1e-8, adjoint=ode.Backsolve(seminorm=seminorm))
        jax.block_until_ready(
            jax.jit(
                jax.grad(lambda a: jnp.sum(ode.solve(field, a, z0, ts, integrator=loose).values))
            )(a)
        )
        jax.effects_barrier()
        return len(calls)

    counts = {seminorm: evaluated(seminorm) for seminorm in (False, True)}
    assert counts[True] < counts[False]
