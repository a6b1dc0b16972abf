"""Orders of convergence, of the steps and of what stands between them."""

from functools import cache

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
EXPLICIT = [solver for solver in ORDERS if not isinstance(solver, diffrax.AbstractImplicitSolver)]
# One method of each order and kind is enough for an ordinary run.
MORE = (ode.Midpoint, ode.Ralston, ode.Dopri5, ode.Kvaerno5)


def each(solvers):
    def marks(solver):
        return pytest.mark.exhaustive if isinstance(solver, MORE) else ()

    rows = [pytest.param(s, marks=marks(s), id=type(s).__name__) for s in solvers]
    return pytest.mark.parametrize("solver", rows)


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


TIMES = np.linspace(0.0, 2.0, 177)
EXACT = {
    "circle": np.stack([np.cos(TIMES), np.sin(TIMES)], -1),
    "driven": np.exp(np.sin(TIMES))[:, None],
    "logistic": 1 / (1 + 4 * np.exp(-TIMES))[:, None],
}
START = {name: values[0] for name, values in EXACT.items()}


SLOPES = {
    "circle": lambda t, z: jnp.array([-z[1], z[0]]),
    "driven": lambda t, z: jnp.cos(t) * z,
    "logistic": lambda t, z: logistic(t, z, 1.0),
}


CALLS = []


@cache
def compiled(solver):
    """Three equations at once, one for implicit methods, with unit steps in units of the step."""
    integrator = ode.Integrator(solver, ode.ConstantStepSize(), dt0=1.0, max_steps=64)
    explicit = solver in EXPLICIT
    start = START if explicit else {"circle": START["circle"]}

    def field(t, z, step):
        if explicit:
            jax.debug.callback(lambda _: CALLS.append(1), t)
        return {name: step * SLOPES[name](step * t, own) for name, own in z.items()}

    return jax.jit(lambda step: ode.solve(field, step, start, TIMES / step, integrator=integrator))


@cache
def errors(solver, count):
    """Errors at all times with so many steps in [0, 2]; evaluations claimed and those that were."""
    CALLS.clear()
    solution = jax.block_until_ready(compiled(solver)(2.0 / count))
    jax.effects_barrier()
    return {
        name: np.abs(np.asarray(values) - EXACT[name]).max(-1)
        for name, values in solution.values.items()
    }, (solution.stats.evaluations, len(CALLS))


def order_of(solver, problem, counts, rows):
    coarse, fine = (errors(solver, count)[0][problem][rows].max() for count in counts)
    return np.log2(coarse / fine)


@each(ORDERS)
def test_the_error_falls_with_the_nominal_order(solver):
    order = ORDERS[solver]
    # Order 8 reaches rounding before the constant of its error on the circle does.
    problem, counts = ("circle", (16, 32)) if order < 8 else ("driven", (4, 8))
    assert order_of(solver, problem, counts, slice(-1, None)) == pytest.approx(order, abs=0.2)


@each(INTERPOLATION)
def test_the_error_between_steps_falls_with_the_interpolants_order(solver):
    found = order_of(solver, "logistic", (16, 32), slice(None))
    assert found > INTERPOLATION[solver] - 0.35


@each(EXPLICIT)
def test_evaluations_of_fixed_steps_are_those_that_happen(solver):
    claimed, happened = errors(solver, 4 if ORDERS[solver] == 8 else 16)[1]
    assert int(claimed) == happened


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
    "adaptive": ode.adaptive(),
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
    ts = jnp.array([0.0, 1.0])
    solution = jax.eval_shape(
        lambda z: ode.solve(logistic, 1.0, z, ts, integrator=integrator), np.array(0.2)
    )
    assert solution.stats.evaluations is None
    assert solution.stats.steps.shape == ()
