"""Gradients of every adjoint: against exp(At), under vmap, in a scan, at irregular times."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_problems import ADJOINTS, SPIRAL, START, assert_close, flow, gradient, integrator, linear
from scipy.linalg import expm

from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

TIMES = [0.0, 0.3, 0.35, 1.7, 2.0]
WEIGHTS = np.cos(np.arange(10.0)).reshape(5, 2)


def each_adjoint(*ordinary):
    """Every adjoint, those but a few behind exhaustive: each costs programs of its own."""
    names = [
        name if name in ordinary else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in ADJOINTS
    ]
    return pytest.mark.parametrize("name", names)


# With few checkpoints, the numbers are those of coarse steps below.
ALL = each_adjoint(*(name for name in ADJOINTS if name != "few checkpoints"))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def solved(name, a, z0, ts):
    return ode.solve(linear, a, z0, ts, integrator=integrator(ADJOINTS[name])).values


def weighted(values):
    return jnp.sum(values * WEIGHTS)


def arguments():
    return np.array(SPIRAL), np.array(START), np.array(TIMES)


def has_gradients_of_times(name):
    return not isinstance(ADJOINTS[name], ode.Backsolve)


def gradients_of(name):
    """By the matrix, the start and, where the adjoint has it, the times."""

    def total(a, z0, ts):
        return weighted(solved(name, a, z0, ts))

    return gradient(ADJOINTS[name])(total, (0, 1, 2) if has_gradients_of_times(name) else (0, 1))


@cache
def of_one(name):
    return jax.jit(gradients_of(name))


@cache
def of_exact():
    """The same gradients of the closed form."""

    def total(a, z0, ts):
        return weighted(jax.vmap(lambda t: flow(a, z0, t))(ts - ts[0]))

    return jax.jit(jax.grad(total, (0, 1, 2)))


@ALL
def test_gradients_are_those_of_the_closed_form(name):
    found, expected = of_one(name)(*arguments()), of_exact()(*arguments())
    assert_close(found[:2], expected[:2], 1e-7)


@each_adjoint("checkpointed", "reversible")
def test_a_batch_of_irregular_times_gives_the_gradients_of_its_series(name):
    a, z0, ts = arguments()
    starts, times = np.stack([z0, -z0, z0[::-1]]), np.stack([ts, np.square(ts), -ts])
    together, *_ = jax.jit(jax.vmap(gradients_of(name), (None, 0, 0)))(a, starts, times)
    for number, each in enumerate(zip(starts, times, strict=True)):
        assert_close(together[number], of_one(name)(a, *each)[0], 1e-9)


@each_adjoint("backsolve", "reversible")
def test_in_a_scan_from_time_to_time(name):
    a, z0, ts = arguments()

    def total(a):
        def step(z, pair):
            z = solved(name, a, z, pair)[-1]
            return z, z

        _, values = jax.lax.scan(step, jnp.asarray(z0), np.stack([ts[:-1], ts[1:]], 1))
        return jnp.sum(values * WEIGHTS[1:])

    # The start, which the scan leaves out, does not depend on the matrix.
    assert_close(jax.jit(gradient(ADJOINTS[name])(total))(a), of_exact()(*arguments())[0], 1e-7)


@ALL
def test_gradients_of_the_times(name):
    a, z0, ts = arguments()
    if has_gradients_of_times(name):
        # Between steps a solver's interpolant stands for the solution, to a lower order.
        assert_close(of_one(name)(a, z0, ts)[2], of_exact()(a, z0, ts)[2], 2e-5)
        return
    with pytest.raises(Exception, match=r"(?i)backsolve|differentiat|perturb"):
        jax.jit(jax.grad(lambda ts: weighted(solved(name, a, z0, ts))))(ts)


@cache
def coarse(adjoint):
    """Value and gradient of steps that are far from the solution."""
    steps = ode.fixed_steps(0.5, adjoint=adjoint, max_steps=8)
    _, z0, ts = arguments()

    def total(a):
        return weighted(ode.solve(linear, a, z0, jnp.asarray(ts), integrator=steps).values)

    return jax.jit(jax.value_and_grad(total))


@pytest.mark.parametrize("name", ["checkpointed", "few checkpoints", "direct", "reversible"])
def test_exact_adjoints_differentiate_the_numbers_computed(name):
    """Coarse steps, far from the solution: finite differences of the same steps agree."""
    a, z0, ts = arguments()
    run, direction = coarse(ADJOINTS[name]), np.array([[0.3, -0.2], [0.5, 0.1]])

    def along(h):
        return float(run(a + h * direction)[0])

    differences = (8 * (along(1e-3) - along(-1e-3)) - (along(2e-3) - along(-2e-3))) / 12e-3
    assert_close(np.sum(run(a)[1] * direction), differences, 1e-9)
    solution = np.sum([WEIGHTS[i] @ expm(a * t) @ z0 for i, t in enumerate(ts)])
    assert abs(along(0.0) - solution) > 1e-6


def test_the_backsolve_gradient_of_coarse_steps_is_another():
    a, *_ = arguments()
    slopes = [coarse(adjoint)(a)[1] for adjoint in (ode.Backsolve(), ode.Checkpointed())]
    assert 1e-7 < np.abs(np.subtract(*slopes)).max() < 1e-1


def test_the_seminorm_saves_evaluations_of_the_backward_solve():
    a, z0, _ = arguments()
    ts = jnp.array([0.0, 20.0])

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
