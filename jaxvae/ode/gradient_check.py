"""A test of an integrator's gradients on the problem at hand, against those of the equation."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxvae._types import PyTree, Scalar
from jaxvae.ode.adjoints import Checkpointed, ForwardMode
from jaxvae.ode.integrator import Integrator
from jaxvae.ode.solve import Field, solve


class GradientCheck(NamedTuple):
    r"""Relative errors $\|g - g^*\|/\|g^*\|$ of gradients, $g^*$ those of a float64 reference.

    Attributes:
        agrees: whether every error is within the tolerance.
        errors: of the integrator, for ``z0`` and ``params``.
        checkpointed: of the same solver and step control with ``Checkpointed()``. ``Reversible``
            steps onto each time, and ``Checkpointed`` past it.
        message: which gradients disagree by how much, and what to use instead.
    """

    agrees: bool
    errors: dict[str, float]
    checkpointed: dict[str, float]
    message: str


def half_square(values: PyTree) -> Scalar:
    """Half the sum of squares: the loss of ``gradient_check`` if no other is given."""
    return sum((0.5 * jnp.sum(jnp.square(x)) for x in jax.tree.leaves(values)), jnp.zeros(()))


def gradient_check(
    integrator: Integrator,
    field: Field,
    params: PyTree,
    z0: PyTree,
    ts: Any,
    *,
    loss: Callable[[PyTree], Scalar] = half_square,
    tolerance: float = 1e-3,
) -> GradientCheck:
    """Compare an integrator's gradients with a float64 reference, and say what to use instead.

    The reference solves the same equation with ``Dopri8`` (``Kvaerno5`` if the integrator's solver
    is implicit) at a relative tolerance of 1e-10, and differentiates its steps. It is compiled
    and run here, once for each field and loss: call this from a notebook or a test, not from within
    ``jit``.

    Args:
        integrator: to be checked.
        field: as for ``solve``, hashable; it has to compute in the type of its arguments.
        params: of the field, as they are in training: gradients may agree for fresh parameters and
            no longer later.
        z0: the state at the first time.
        ts: times, as for ``solve``.
        loss: of the values (time, *state).
        tolerance: relative error from which gradients disagree.

    Returns:
        The errors, and the advice that follows from them.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae import ode
        >>> spiral = lambda t, z, a: a @ z
        >>> a, z0 = jnp.array([[-0.1, 1.0], [-0.2, -0.1]]), jnp.array([1.0, 0.0])
        >>> coarse = ode.fixed_steps(2.0, adjoint=ode.Backsolve())
        >>> ode.gradient_check(coarse, spiral, a, z0, jnp.linspace(0.0, 20.0, 5)).agrees
        False
    """
    arguments = jax.tree.map(np.asarray, (z0, params, ts))
    ours = _gradients(integrator, field, arguments, loss)
    # The gradient of the numbers computed.
    plain = _gradients(replace(integrator, adjoint=Checkpointed()), field, arguments, loss)
    with jax.enable_x64(True):
        wide = jax.tree.map(_widened, arguments)
        exact = _gradients(_reference(integrator), field, wide, loss)
    errors, checkpointed = _errors(ours, exact), _errors(plain, exact)
    agrees = _worst(errors) <= tolerance
    message = _message(integrator, errors, checkpointed, tolerance)
    return GradientCheck(agrees, errors, checkpointed, message)


def _reference(integrator: Integrator) -> Integrator:
    implicit = isinstance(integrator.solver, diffrax.AbstractImplicitSolver)
    return Integrator(
        diffrax.Kvaerno5() if implicit else diffrax.Dopri8(),
        diffrax.PIDController(rtol=1e-10, atol=1e-12),
        max_steps=2**17,
    )


def _gradients(integrator, field, arguments, loss) -> tuple[PyTree, PyTree]:
    found = _compiled(integrator, field, loss, *jax.tree.map(jnp.asarray, arguments))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), found)


@partial(jax.jit, static_argnames=("integrator", "field", "loss"))
def _compiled(integrator, field, loss, z0, params, ts):
    def total(z0, params):
        return loss(solve(field, params, z0, ts, integrator=integrator).values)

    differentiate = jax.jacfwd if isinstance(integrator.adjoint, ForwardMode) else jax.grad
    return differentiate(total, argnums=(0, 1))(z0, params)


def _widened(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x


def _errors(found: tuple[PyTree, PyTree], exact: tuple[PyTree, PyTree]) -> dict[str, float]:
    return {
        name: _distance(ours, theirs)
        for name, ours, theirs in zip(("z0", "params"), found, exact, strict=True)
    }


def _distance(found: PyTree, exact: PyTree) -> float:
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
    wrong, size = np.sum([(np.sum((a - b) ** 2), np.sum(b**2)) for a, b in pairs] or [(0, 0)], 0)
    return float(np.sqrt(wrong / size)) if size else float(wrong > 0)


def _worst(errors: dict[str, float]) -> float:
    return float("nan") if np.isnan(list(errors.values())).any() else max(errors.values())


def _message(integrator, errors, checkpointed, tolerance) -> str:
    name = type(integrator.adjoint).__name__
    listed = ", ".join(f"{key} {error:.1e}" for key, error in errors.items())
    worst, plain = _worst(errors), _worst(checkpointed)
    if worst <= tolerance:
        return f"the gradients of {name} and of the reference agree ({listed})"
    found = f"the gradients of {name} and of the reference disagree by {worst:.1e} ({listed})"
    if plain <= tolerance:
        return (
            f"{found}; use Checkpointed(), within {plain:.1e} with the same solver and step control"
        )
    return (
        f"{found}, and so do those of Checkpointed() ({plain:.1e}): the steps are too coarse; "
        "tighten the tolerance, or shorten the step"
    )
