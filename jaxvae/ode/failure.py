"""How a solve can fail: the checks, and the error messages, each of which says what to do."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxvae import _run_time
from jaxvae._types import PyTree
from jaxvae.ode.integrator import Integrator

SUCCESS, TRUNCATED, REJECTED, NOT_FINITE, IRREVERSIBLE, UNSTABLE = range(6)
"""Causes of failure: none; ``max_steps`` accepted steps; ``max_steps`` steps most of which were
rejected; values that are NaN or infinite; a reversible scheme whose steps cannot be undone, or
whose two solutions have diverged from each other."""

_ORDER = (
    "solve expected times that increase or decrease strictly from t0, which is the first time if "
    "it is not given; only the last time may be repeated, as padding. Sort the times and drop "
    "duplicates, and use a second solve for times on the other side of t0"
)
_MOST_APART = 0.1
"""Largest distance of the two reversible solutions, as a fraction of the largest value."""

_TIMES_FINITE = "solve expected finite times, got NaN or infinity; mask or drop those rows"
_STATE_FINITE = "solve expected a finite initial state, got NaN or infinity"


def check_types(z0: PyTree, ts: Any, integrator: Integrator) -> None:
    """Raise for arguments of a wrong type or shape."""
    if not isinstance(integrator, Integrator):
        raise ValueError(
            f"solve expected an Integrator, got {integrator!r}; ode.adaptive() and "
            "ode.fixed_steps(step) make one"
        )
    if jnp.ndim(ts) != 1 or not jnp.size(ts):
        raise ValueError(
            f"solve expected a vector of one or more times, got shape {jnp.shape(ts)}; for a "
            "single time t pass jnp.array([t]) and t0"
        )
    if not jnp.issubdtype(jnp.result_type(ts), jnp.floating):
        raise ValueError(f"solve expected floating-point times, got {jnp.result_type(ts)}")
    leaves = jax.tree.leaves(z0)
    if not leaves or not all(jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in leaves):
        types = ", ".join(str(jnp.result_type(x)) for x in leaves) or "no array"
        raise ValueError(f"solve expected a state of real numbers, got {types}")
    _check_tolerance(jnp.result_type(*leaves), integrator.controller)


def check_times(start: Array, ts: Array) -> None:
    """Raise for wrong times, if their values are known, as they are outside of ``jit``."""
    known, first = _known(ts), _known(start)
    if known is None or first is None:
        return
    times = np.concatenate([first, known])
    for wrong, message in (
        (not np.isfinite(times).all(), _TIMES_FINITE),
        (not in_order(jnp.asarray(times)), _ORDER),
    ):
        if wrong:
            listed = np.array2string(known, threshold=8)
            raise ValueError(f"{message}; got t0 = {first[0]:g} and {listed}")


def check_field(field: Any, params: PyTree, z0: PyTree, times: Array) -> None:
    """Raise unless the field's derivative has the structure and the shapes of the state."""
    slope = eqx.filter_eval_shape(field, times[0], z0, params)
    found, expected = (jax.tree.map(jnp.shape, tree) for tree in (slope, z0))
    if found != expected:
        raise ValueError(
            f"solve expected field(t, z, params) to return the shapes of z, {expected}, got {found}"
        )


def _known(times: Array) -> np.ndarray | None:
    """The values, or None for a tracer, which has none yet."""
    try:
        return np.asarray(times)
    except jax.errors.TracerArrayConversionError:
        return None


def _check_tolerance(dtype: Any, controller: Any) -> None:
    rtol = getattr(controller, "rtol", None)
    least = float(jnp.finfo(dtype).eps) / 4
    if isinstance(rtol, float) and rtol < least:
        raise ValueError(
            f"solve expected a relative tolerance of at least {least:.0e}, the rounding error of "
            f"{dtype}, got {rtol:.0e}; loosen it, or compute in float64"
        )


def in_order(times: Float[Array, " time"]) -> Bool[Array, ""]:
    """Whether times are strictly monotonic, apart from a repeated first time and the padding."""
    direction = jnp.sign(times[-1] - times[0])
    moves = direction * jnp.diff(times)
    rests = moves[1:] == 0
    padding = times[1:-1] == times[-1]
    return jnp.all(jnp.isfinite(times)) & jnp.all(moves >= 0) & jnp.all(~rests | padding)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether all numbers are finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def cause_of(result: diffrax.RESULTS, rejected: Array, accepted: Array) -> Int[Array, ""]:
    """The cause of failure that diffrax reports."""
    truncated = jnp.where(rejected > accepted, REJECTED, TRUNCATED)
    failed = jnp.where(result == diffrax.RESULTS.max_steps_reached, truncated, REJECTED)
    return jnp.where(result == diffrax.RESULTS.successful, SUCCESS, failed)


def cause_of_steps(
    needed: Int[Array, ""],
    max_steps: int,
    reversible: Bool[Array, ""],
    stable: Bool[Array, ""],
) -> Int[Array, ""]:
    """The cause of failure that a reversible solve reports."""
    retraced = jnp.where(stable, jnp.where(reversible, SUCCESS, IRREVERSIBLE), UNSTABLE)
    return jnp.where(needed > max_steps, TRUNCATED, retraced)


def still_one(values: PyTree, gap: Float[Array, " time"]) -> Bool[Array, ""]:
    """Whether the two coupled solutions of a reversible scheme are still close to each other.

    NaN is ignored here: ``with_values`` reports it, and rows that were not reached contain it.
    """
    sizes = [jnp.nanmax(jnp.abs(x)) for x in jax.tree.leaves(values)]
    return ~(jnp.nanmax(gap) > _MOST_APART * jnp.max(jnp.stack(sizes)))


def with_values(cause: Int[Array, ""], values: PyTree) -> Int[Array, ""]:
    """The cause, with a look at the values: fixed steps go on after NaN or infinity."""
    return jnp.where((cause == SUCCESS) & ~all_finite(values), NOT_FINITE, cause)


def reached_rows(values: PyTree, cause: Int[Array, ""]) -> Bool[Array, " time"]:
    """Rows that may be used: all of a success, those before ``max_steps`` ran out, or none."""
    rows = [jnp.all(jnp.isfinite(x.reshape(x.shape[0], -1)), 1) for x in jax.tree.leaves(values)]
    finite = jnp.all(jnp.stack(rows), 0)
    return (finite & (cause == TRUNCATED)) | (cause == SUCCESS)


def refuse_arguments(z0: PyTree, times: Array) -> PyTree:
    """The state, with run-time errors for wrong values of times and state."""
    for wrong, message in (
        (~jnp.all(jnp.isfinite(times)), _TIMES_FINITE),
        (~in_order(times), _ORDER),
        (~all_finite(z0), _STATE_FINITE),
    ):
        z0 = _run_time.error_if(z0, wrong, message)
    return z0


def refuse_failure(values: PyTree, cause: Int[Array, ""], integrator: Integrator) -> PyTree:
    """The values, or a run-time error that says why the solve failed and what to do."""
    limit, solver = integrator.max_steps, type(integrator.solver).__name__
    messages = [
        f"solve: {solver} took max_steps={limit} steps and did not reach the last time; raise "
        "max_steps, loosen the tolerance, lengthen the step, or shorten the time span. If that "
        "does not help, the equation is stiff (use an implicit solver, such as Kvaerno5) or its "
        "solution diverges",
        f"solve: {solver} rejected most of max_steps={limit} steps, as its step size fell towards "
        "0; the field has values that are not finite, or is stiff: check its values, use smooth "
        "activations and smaller weights, or an implicit solver such as Kvaerno5",
        f"solve: {solver} reached NaN or infinity; the solution diverges or the field has values "
        "that are not finite: shorten the step, bound the field, or use adaptive steps",
        f"solve: {integrator.adjoint} cannot undo this many steps, because errors grow by a factor "
        "of 1/coupling in each; leave the coupling at None, which chooses it by their number",
        f"solve: the two coupled solutions of {integrator.adjoint} have diverged, and neither "
        "solves the equation, which contracts too much for this time span or this step: use "
        "Checkpointed, a shorter span, or a shorter step",
    ]
    return _run_time.one_of_errors_if(values, cause != SUCCESS, jnp.maximum(cause - 1, 0), messages)
