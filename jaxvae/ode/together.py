"""One solve for all elements of a ``vmap``."""

from typing import Any

import jax
from jax import lax

from jaxvae._types import PyTree, Scalar
from jaxvae.ode.integrator import Integrator
from jaxvae.ode.solve import Field, Solution, solve, solve_batch


def solve_together(
    field: Field,
    params: PyTree,
    z0: PyTree,
    ts: Any,
    *,
    axis_name: str,
    integrator: Integrator = Integrator(),  # noqa: B008 - an immutable record
    t0: Scalar | float | None = None,
    throw: bool = True,
) -> Solution:
    """``solve`` for one series, which under ``jax.vmap`` shares its steps with all others.

    Written for one series, computed as ``solve_batch``: the initial states of the whole ``vmap``
    are gathered, solved at once, and each series gets its own. Where no ``vmap`` has the axis, the
    series is solved alone; then and now each is within the tolerance.

    Args:
        field: as for ``solve``.
        params: of the field; like ``ts`` and ``t0`` the same for all elements of the ``vmap``.
        z0: the state of this series at ``t0``.
        ts: common times.
        axis_name: of the ``vmap``.
        integrator: solver, controller, adjoint and limits.
        t0: common time of the initial states; None for the first of ``ts``.
        throw: as for ``solve``.

    Returns:
        Values (time, *state) of this series; mask and statistics are common.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import ode
        >>> times = jnp.linspace(0.0, 1.0, 5)
        >>> def decay_from(z):
        ...     decay = lambda t, z, rate: -rate * z
        ...     return ode.solve_together(decay, 2.0, z, times, axis_name="series").values
        >>> jax.vmap(decay_from, axis_name="series")(jnp.ones((3, 1))).shape
        (3, 5, 1)
    """
    options = {"integrator": integrator, "t0": t0, "throw": throw}
    try:
        index = lax.axis_index(axis_name)
    except NameError:  # how JAX says that no vmap has the axis
        return solve(field, params, z0, ts, **options)
    states = lax.all_gather(z0, axis_name)
    solution = solve_batch(field, params, states, ts, **options)
    own = jax.tree.map(
        lambda x: lax.dynamic_index_in_dim(x, index, keepdims=False), solution.values
    )
    return solution._replace(values=own)
