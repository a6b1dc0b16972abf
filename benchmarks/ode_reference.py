"""What solutions and gradients are compared with."""

from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.ode_problems import Problem
from jaxvae import ode

_TOLERANCES = (1e-12, 1e-10)


class Reference(NamedTuple):
    """Solution and gradients in float64, and how far they may be off.

    Attributes:
        values: the solution at the times.
        gradients: with respect to z0 and params.
        uncertainty: relative distances from the same at a hundred times the tolerance.
    """

    values: Any
    gradients: dict[str, Any]
    uncertainty: dict[str, float]


def reference(problem: Problem) -> Reference:
    """Solved by ``Dopri8`` and differentiated step by step, at two tolerances."""

    def loss_and_values(params, z0, ts, rtol):
        controller = ode.PIDController(rtol=rtol, atol=rtol / 100)
        integrator = ode.Integrator(ode.Dopri8(), controller, max_steps=2**15)
        values = problem.solve(params, z0, ts, integrator).values
        return problem.loss(values), values

    with jax.enable_x64(True):
        run = jax.jit(jax.grad(loss_and_values, argnums=(0, 1), has_aux=True))
        (exact, values), (other, nearby) = (
            jax.device_get(run(*problem.arguments("float64"), rtol)) for rtol in _TOLERANCES
        )
    uncertainty = {
        "solution": relative_error(nearby, values),
        "z0": relative_error(other[1], exact[1]),
        "params": relative_error(other[0], exact[0]),
    }
    return Reference(values, {"z0": exact[1], "params": exact[0]}, uncertainty)


def relative_error(found: Any, exact: Any) -> float:
    r"""$\|a - b\|_2/\|b\|_2$ over all entries of all leaves, in float64."""
    ours, theirs = (
        np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)])
        for tree in (found, exact)
    )
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
