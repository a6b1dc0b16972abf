"""Initial value problems: one series, or a batch of series that share their times and steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from jaxvae._types import PyTree, Scalar
from jaxvae.ode import failure
from jaxvae.ode.adjoints import to_diffrax, with_norm
from jaxvae.ode.integrator import Integrator
from jaxvae.ode.reversible import Reversible, reversible_solve
from jaxvae.ode.runge_kutta import evaluations, tableau_of

Field = Callable[[Scalar, PyTree, PyTree], PyTree]


class Stats(NamedTuple):
    """The cost of a solve.

    Attributes:
        steps: number of accepted and rejected steps.
        rejected: steps repeated because their estimated error was too large.
        evaluations: of the field, in the solve itself and not in its gradient; None for an implicit
            solver, whose iterations are not counted.
    """

    steps: Int[Array, ""]
    rejected: Int[Array, ""]
    evaluations: Int[Array, ""] | None


class Solution(NamedTuple):
    """A solution at the times asked for.

    Attributes:
        values: (time, *state); 0 where not reached.
        reached: whether a row holds the solution: True throughout, unless ``throw=False`` and the
            solve failed.
        stats: steps, rejected steps, evaluations.
    """

    values: PyTree
    reached: Bool[Array, " time"]
    stats: Stats


def solve(
    field: Field,
    params: PyTree,
    z0: PyTree,
    ts: Float[Array, " time"],
    *,
    integrator: Integrator = Integrator(),  # noqa: B008 - an immutable record
    t0: Scalar | float | None = None,
    throw: bool = True,
) -> Solution:
    r"""The solution of $\dot z = f(t, z; \theta)$, $z(t_0) = z_0$, at the times asked for.

    Gradients flow to ``z0``, ``params`` and ``ts`` as the integrator's adjoint says. For many
    series, ``jax.vmap``; where these have common times ``solve_batch`` is several times faster.

    Args:
        field: ``(t, z, params)`` to the derivative of z, in the structure of z. What it learns
            is passed through ``params``: an array that it closes over gets no gradient, or is an
            error, depending on the adjoint.
        params: of the field.
        z0: the state at ``t0``.
        ts: rising, or falling for a solution backwards in time. Rows of padding repeat the last
            time; apart from them no time comes twice.
        integrator: solver, controller, adjoint and limits.
        t0: time of ``z0``; None for the first of ``ts``.
        throw: whether to raise when the solve fails: too many steps, vanishing steps, values that
            are not finite. If False, ``Solution.reached`` says which rows may be used, and a failed
            solve adds nothing to any gradient, at the cost of a second solve without gradients.

    Returns:
        Values, mask and statistics.

    Raises:
        ValueError: if times are not in order or not finite, or the tolerance is below the rounding
            error of the state's type. Under ``jit``, where values are not known, these are run-time
            errors, as is a failed solve.

    Reference: Bath report, eqs. 21 and 30.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae import ode
        >>> decay = lambda t, z, rate: -rate * z
        >>> solution = ode.solve(decay, 2.0, jnp.ones(1), jnp.linspace(0.0, 1.0, 5))
        >>> bool(jnp.allclose(solution.values[-1], jnp.exp(-2.0), atol=1e-4))
        True
    """
    return _solve(field, params, z0, ts, integrator, t0, throw)


def solve_batch(
    field: Field,
    params: PyTree,
    z0s: PyTree,
    ts: Float[Array, " time"],
    *,
    integrator: Integrator = Integrator(),  # noqa: B008 - an immutable record
    t0: Scalar | float | None = None,
    throw: bool = True,
) -> Solution:
    """Many series with common times, in one solve with common steps.

    A step is accepted if every series is within the tolerance, so none is less exact than if it
    were solved alone. Series also fail together: if one diverges, the solve of all has failed.

    Args:
        field: as for ``solve``: of ONE state.
        params: of the field, common to all.
        z0s: the states at ``t0``, with a leading axis of series.
        ts: common times, as for ``solve``.
        integrator: solver, controller, adjoint and limits.
        t0: common time of the initial states; None for the first of ``ts``.
        throw: as for ``solve``.

    Returns:
        Values (series, time, *state); mask and statistics are common.

    Raises:
        ValueError: as ``solve``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae import ode
        >>> decay = lambda t, z, rate: -rate * z
        >>> times = jnp.linspace(0.0, 1.0, 5)
        >>> ode.solve_batch(decay, 2.0, jnp.ones((3, 1)), times).values.shape
        (3, 5, 1)
    """
    batched = jax.vmap(field, in_axes=(None, 0, None))
    solution = _solve(batched, params, z0s, ts, integrator, t0, throw, norm=_worst_of_series)
    return solution._replace(values=jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), solution.values))


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
    """``solve_batch`` written for one series: all elements of a ``vmap`` are solved at once.

    The initial states of the whole ``vmap`` are gathered and solved as one batch, and each series
    gets its own solution.

    Args:
        field: as for ``solve``.
        params: of the field; like ``ts`` and ``t0`` the same for all elements of the ``vmap``.
        z0: the state of this series at ``t0``.
        ts: common times.
        axis_name: of the ``vmap`` over the series.
        integrator: solver, controller, adjoint and limits.
        t0: common time of the initial states; None for the first of ``ts``.
        throw: as for ``solve``.

    Returns:
        Values (time, *state) of this series; mask and statistics are common.

    Raises:
        ValueError: if no ``vmap`` has the axis: a series that is solved alone takes other steps,
            and ``solve`` does that; otherwise as ``solve``.

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
    try:
        index = lax.axis_index(axis_name)
    except NameError as missing:  # how JAX says that no vmap has the axis
        raise ValueError(
            f"solve_together expected a vmap with the axis {axis_name!r}, got one series alone; "
            "map over the series with jaxvae.map_examples, or with jax.vmap(..., "
            f"axis_name={axis_name!r}); ode.solve solves a series alone"
        ) from missing
    states = lax.all_gather(z0, axis_name)
    solution = solve_batch(field, params, states, ts, integrator=integrator, t0=t0, throw=throw)
    own = jax.tree.map(
        lambda x: lax.dynamic_index_in_dim(x, index, keepdims=False), solution.values
    )
    return solution._replace(values=own)


def _solve(field, params, z0, ts, integrator, t0, throw, norm=None) -> Solution:
    z0 = jax.tree.map(jnp.asarray, z0)
    failure.check_types(z0, ts, integrator)
    ts = jnp.asarray(ts)
    start = ts[:1] if t0 is None else jnp.asarray(t0, ts.dtype)[None]
    failure.check_times(start, ts)
    times = jnp.concatenate([start, ts])
    failure.check_field(field, params, z0, times)
    sound = failure.in_order(times) & failure.all_finite(z0)
    ordered = jnp.where(sound, times, jnp.arange(times.size, dtype=times.dtype))
    if throw:
        z0 = failure.refuse_arguments(z0, times)
        values, cause, stats = _run(field, params, z0, ordered, integrator, norm)
        values = failure.refuse_failure(values, cause, integrator)
        return Solution(values, jnp.ones(ts.shape, bool), stats)
    z0 = jax.tree.map(lambda x: jnp.where(sound, x, 0), z0)
    # The gradient of a failed solve is NaN, and a NaN cannot be removed from the gradient of
    # parameters that series share: a first run without gradients finds how far the second may go.
    trial = lax.stop_gradient((params, z0, ordered))
    values, cause, stats = _run(field, *trial, integrator, norm)
    reached = failure.reached_rows(values, cause) & sound
    places = jnp.arange(times.size)
    last = jnp.max(jnp.where(reached, places[1:], 0))
    shortened = jnp.where(places <= last, ordered, ordered[last])
    values, _, _ = _run(field, params, z0, shortened, integrator, norm)
    return Solution(jax.tree.map(lambda x: _where_rows(reached, x), values), reached, stats)


def _where_rows(reached: Array, x: Array) -> Array:
    return jnp.where(jnp.expand_dims(reached, range(1, x.ndim)), x, 0)


def _run(field, params, z0, times, integrator, norm):
    if isinstance(integrator.adjoint, Reversible):
        return _run_reversibly(field, params, z0, times, integrator)
    controller, backwards = integrator.controller, times[-1] < times[0]
    dt0 = integrator.dt0
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        integrator.solver,
        times[0],
        times[-1],
        None if dt0 is None else jnp.where(backwards, -dt0, dt0).astype(times.dtype),
        z0,
        params,
        saveat=diffrax.SaveAt(ts=times[1:]),
        stepsize_controller=controller if norm is None else with_norm(controller, norm),
        adjoint=to_diffrax(integrator.adjoint, controller),
        max_steps=integrator.max_steps,
        throw=False,
    )
    steps, rejected = (solution.stats[name] for name in ("num_steps", "num_rejected_steps"))
    cause = failure.cause_of(solution.result, rejected, steps - rejected)
    cause = failure.with_values(cause, solution.ys)
    return solution.ys, cause, Stats(steps, rejected, _evaluations(integrator, steps))


def _evaluations(integrator: Integrator, steps: Array) -> Array | None:
    counts = evaluations(integrator.solver)
    if counts is None:
        return None
    at_start, in_step = counts
    return at_start + in_step * steps


def _worst_of_series(tree: PyTree) -> Scalar:
    """The root mean square of the state, of the series where it is largest."""
    leaves = [x.reshape(x.shape[0], -1) for x in jax.tree.leaves(tree)]
    # Step-size control has no gradient, and that of a root at zero would be infinite.
    flat = lax.stop_gradient(jnp.concatenate(leaves, axis=1))
    return jnp.sqrt(jnp.max(jnp.mean(jnp.square(flat), axis=1)))


def _run_reversibly(field, params, z0, times, integrator):
    tableau, counts = tableau_of(integrator.solver), evaluations(integrator.solver)
    assert tableau
    assert counts
    solution = reversible_solve(
        field,
        params,
        z0,
        times,
        tableau=tableau,
        dt0=integrator.dt0,
        max_steps=integrator.max_steps,
        coupling=integrator.adjoint.coupling,
    )
    stable = failure.still_one(solution.values, solution.gap)
    cause = failure.with_values(
        failure.cause_of_steps(solution.needed, integrator.max_steps, solution.reversible, stable),
        solution.values,
    )
    stats = Stats(solution.steps, jnp.zeros_like(solution.steps), 2 * counts[1] * solution.steps)
    return jax.tree.map(lambda x: x[1:], solution.values), cause, stats
