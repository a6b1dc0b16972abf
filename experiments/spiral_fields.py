"""A linear spiral, a perceptron as its field, and every way to differentiate their distance."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

import jaxvae
from jaxvae import nn, ode
from jaxvae.distributions import Normal
from jaxvae.model import EXAMPLES


@dataclass(frozen=True)
class Problem:
    """The data, the field, and how the equation is solved."""

    points: int = 200
    """Points of the trajectory."""
    span: float = 25.0
    """Time of the last one."""
    hidden: int = 20
    """Units of the field's one hidden layer, with tanh."""
    tolerance: float = 1e-5
    """Relative tolerance of adaptive steps; the absolute one is a hundredth of it."""
    max_steps: int = 256
    """Adaptive steps after which a solve has failed."""


ADJOINTS: dict[str, Any] = {
    "backsolve": ode.Backsolve(),
    "backsolve_seminorm": ode.Backsolve(seminorm=True),
    "checkpointed": ode.Checkpointed(),
    "direct": ode.Direct(),
    "reversible": ode.Reversible(),
    "forward_mode": ode.ForwardMode(),
}


def integrator(problem: Problem, name: str) -> ode.Integrator:
    """Adaptive steps; for the reversible adjoint, one step from point to point."""
    adjoint, tolerance = ADJOINTS[name], problem.tolerance
    if name == "reversible":
        # A little more than the spacing, so that rounding adds no second step.
        step = 1.001 * problem.span / (problem.points - 1)
        most = problem.points
        return ode.fixed_steps(step, solver=ode.Tsit5(), adjoint=adjoint, max_steps=most)
    most = problem.max_steps
    return ode.adaptive(tolerance, 0.01 * tolerance, adjoint=adjoint, max_steps=most)


def network(problem: Problem) -> nn.Network:
    """The perceptron."""
    return nn.mlp((2,), (2,), hidden=(problem.hidden,), activation=nn.tanh)


def log_likelihood(
    problem: Problem, name: str, params: Any, example: jaxvae.Example, *, key, settings=None
) -> jaxvae.Estimate:
    """Of one fragment, Normal with unit variance around the solution from its first point.

    Args:
        problem: with the field and its solver.
        name: of the adjoint.
        params: of the field.
        example: one fragment (point, 2); all fragments have common times, and a common solve.
        key: unused.
        settings: unused.
    """
    del key, settings
    states = example.target
    times = problem.span / (problem.points - 1) * jnp.arange(len(states), dtype=states.dtype)

    def density(params):
        values = ode.solve_together(
            nn.autonomous(network(problem)),
            params,
            states[0],
            times,
            axis_name=EXAMPLES,
            integrator=integrator(problem, name),
        ).values
        error = jnp.mean(jnp.sum((values - states) ** 2, axis=1))
        return Normal(values, jnp.zeros_like(values)).log_prob(states), error

    if name == "forward_mode":
        density = partial(forwards, density)
    value, error = density(params)
    return jaxvae.Estimate(value, value, {"squared_error": lax.stop_gradient(error)})


def forwards(function: Any, params: Any) -> tuple[Array, Array]:
    """The value, with a gradient for reverse mode that was taken in forward mode."""
    fixed = lax.stop_gradient(params)

    def twice(params):
        value, error = function(params)
        return value, (value, error)

    slope, (value, error) = jax.jacfwd(twice, has_aux=True)(fixed)
    moved = jax.tree.map(jnp.subtract, params, fixed)
    return value + optax.tree.vdot(slope, moved), error


def trajectory_times(problem: Problem) -> Array:
    """Those of the points."""
    return jnp.linspace(0.0, problem.span, problem.points)


def whole_trajectories(problem: Problem, params: Any, start: Array) -> np.ndarray:
    """Of each seed (seeds, time, 2): from the first point alone, more exact than in training."""
    precise = ode.adaptive(1e-6, 1e-8, max_steps=16 * problem.max_steps)
    velocity, times = nn.autonomous(network(problem)), trajectory_times(problem)

    def path(params):
        return ode.solve(velocity, params, start, times, integrator=precise).values

    return np.asarray(jax.jit(jax.vmap(path))(params), float)


def check_gradients(problem: Problem, name: str, params: Any, start: Array) -> ode.GradientCheck:
    """Of the solver and adjoint of training, along the whole trajectory."""
    velocity, times = nn.autonomous(network(problem)), trajectory_times(problem)
    return ode.gradient_check(integrator(problem, name), velocity, params, start, times)
