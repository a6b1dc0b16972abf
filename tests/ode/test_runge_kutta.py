"""Orders of convergence, of the steps and of what stands between them."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from ode_problems import logistic

from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

EQUATIONS = diffrax.VeryChord(rtol=1e-13, atol=1e-13, norm=optimistix.max_norm)
ORDERS = {
    ode.Euler(): 1,
    ode.Heun(): 2,
    ode.Midpoint(): 2,
    ode.Ralston(): 2,
    ode.Bosh3(): 3,
    ode.RK4(): 4,
    ode.Tsit5(): 5,
    ode.Dopri5(): 5,
    ode.Dopri8(): 8,
    ode.Kvaerno3(root_finder=EQUATIONS): 3,
    ode.Kvaerno5(root_finder=EQUATIONS): 5,
}
INTERPOLATION = {
    ode.Euler(): 1,
    ode.Heun(): 2,
    ode.Bosh3(): 3,
    ode.RK4(): 4,
    ode.Tsit5(): 4,
    ode.Dopri5(): 4,
}


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def circle(t, z, rate):
    del t
    return rate * jnp.array([-z[1], z[0]])


def driven(t, z, rate):
    return rate * jnp.cos(t) * z


CIRCLE = circle, [1.0, 0.0], lambda t: jnp.stack([jnp.cos(t), jnp.sin(t)], -1)
DRIVEN = driven, [1.0], lambda t: jnp.exp(jnp.sin(t))[:, None]
LOGISTIC = logistic, [0.2], lambda t: 1 / (1 + 4 * jnp.exp(-t))[:, None]


def errors(solver, problem, counts, ts):
    """Largest errors with so many steps in [0, 2]."""
    field, start, exact = problem

    def error(step):
        integrator = ode.Integrator(solver, ode.ConstantStepSize(), dt0=float(step), max_steps=512)
        values = ode.solve(field, 1.0, jnp.array(start), ts, integrator=integrator).values
        return jnp.max(jnp.abs(values - exact(ts)))

    return np.array([jax.jit(error, static_argnums=0)(2.0 / count) for count in counts])


@pytest.mark.parametrize("solver", ORDERS, ids=lambda solver: type(solver).__name__)
def test_the_error_falls_with_the_nominal_order(solver):
    order = ORDERS[solver]
    # Order 8 reaches rounding before the constant of its error on the circle does.
    problem, counts = (CIRCLE, (16, 32)) if order < 8 else (DRIVEN, (4, 8))
    coarse, fine = errors(solver, problem, counts, jnp.array([0.0, 2.0]))
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("solver", INTERPOLATION, ids=lambda solver: type(solver).__name__)
def test_the_error_between_steps_falls_with_the_interpolants_order(solver):
    coarse, fine = errors(solver, LOGISTIC, (16, 32), jnp.linspace(0.0, 2.0, 177))
    assert np.log2(coarse / fine) > INTERPOLATION[solver] - 0.35


def test_one_step_of_rk4_is_kuttas():
    def field(t, z, a):
        return jnp.sin(3 * t) + a * z

    h, z, a = 0.3, 0.7, -1.1
    k1 = field(0.0, z, a)
    k2 = field(h / 2, z + h / 2 * k1, a)
    k3 = field(h / 2, z + h / 2 * k2, a)
    k4 = field(h, z + h * k3, a)
    by_hand = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    solution = jax.jit(
        lambda z: ode.solve(field, a, z, jnp.array([0.0, h]), integrator=ode.fixed_steps(h))
    )(jnp.array(z))
    assert solution.values[-1] == pytest.approx(float(by_hand), rel=1e-14)


COUNTED = {
    "Euler": ode.fixed_steps(0.1, solver=ode.Euler()),
    "Heun": ode.fixed_steps(0.1, solver=ode.Heun()),
    "RK4": ode.fixed_steps(0.1),
    "Tsit5": ode.adaptive(),
    "Bosh3": ode.adaptive(solver=ode.Bosh3()),
    "Dopri8": ode.adaptive(solver=ode.Dopri8()),
    "reversible": ode.fixed_steps(0.1, adjoint=ode.Reversible()),
}


@pytest.mark.parametrize("integrator", COUNTED.values(), ids=COUNTED)
def test_evaluations_are_those_that_happen(integrator):
    calls = []

    def field(t, z, rate):
        jax.debug.callback(lambda _: calls.append(1), t)
        return rate * jnp.sin(5 * z) - t

    ts = jnp.array([0.0, 0.5, 2.0])
    solution = jax.jit(lambda z: ode.solve(field, 1.0, z, ts, integrator=integrator))(
        jnp.array(0.2)
    )
    jax.block_until_ready(solution)
    jax.effects_barrier()
    assert int(solution.stats.evaluations) == len(calls)


def test_implicit_steps_say_that_their_evaluations_are_unknown():
    integrator = ode.Integrator(ode.Kvaerno3())
    solution = ode.solve(
        logistic, 1.0, jnp.array(0.2), jnp.array([0.0, 1.0]), integrator=integrator
    )
    assert solution.stats.evaluations is None
    assert int(solution.stats.steps) > 0
