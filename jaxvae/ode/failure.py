"""What can go wrong in a solve: found, and refused with a message that says what to do."""

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
"""Causes: none; too many steps, accepted or most of them rejected; NaN or infinity; a reversible
scheme that could not find its way back, or whose two solutions have parted."""

_ORDER = (
    "solve expected times that rise, or fall, strictly from t0 on (the first one, if none is "
    "given), with no more than the last one repeated (as padding), got others; sort them, drop "
    "duplicates, and reach what lies on the other side of t0 by a solve of its own"
)
_MOST_APART = 0.1
"""Of the largest value: solutions at such a distance are not about one."""

_TIMES_FINITE = "solve expected finite times, got NaN or infinity; mask such rows out before"
_STATE_FINITE = "solve expected a finite initial state, got NaN or infinity"


def check_types(z0: PyTree, ts: Any, integrator: Integrator) -> None:
    """Raise for what is known from shapes and types."""
    if not isinstance(integrator, Integrator):
        raise ValueError(
            f"solve expected an Integrator, got {integrator!r}; ode.adaptive() and "
            "ode.fixed_steps(step) make one"
        )
    if jnp.ndim(ts) != 1 or not jnp.size(ts):
        raise ValueError(
            f"solve expected a vector of one or more times, got shape {jnp.shape(ts)}; for one "
            "time give jnp.array([t]) with t0="
        )
    if not jnp.issubdtype(jnp.result_type(ts), jnp.floating):
        raise ValueError(f"solve expected times of floating point, got {jnp.result_type(ts)}")
    leaves = jax.tree.leaves(z0)
    if not leaves or not all(jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in leaves):
        types = ", ".join(str(jnp.result_type(x)) for x in leaves) or "no array"
        raise ValueError(f"solve expected a state of real numbers, got {types}")
    _check_tolerance(jnp.result_type(*leaves), integrator.controller)


def check_times(start: Array, ts: Array) -> None:
    """Raise for the values of times that are no tracers."""
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
    """Raise where the derivative is not like the state."""
    slope = eqx.filter_eval_shape(field, times[0], z0, params)
    found, expected = (jax.tree.map(jnp.shape, tree) for tree in (slope, z0))
    if found != expected:
        raise ValueError(
            f"solve expected field(t, z, params) to return what z is, {expected}, got {found}"
        )


def _known(times: Array) -> np.ndarray | None:
    """The numbers, or None under a transformation that does not know them yet."""
    try:
        return np.asarray(times)
    except jax.errors.TracerArrayConversionError:
        return None


def _check_tolerance(dtype: Any, controller: Any) -> None:
    rtol = getattr(controller, "rtol", None)
    least = float(jnp.finfo(dtype).eps) / 4
    if isinstance(rtol, float) and rtol < least:
        raise ValueError(
            f"solve expected a relative tolerance above the rounding of {dtype}, {least:.0e}, got "
            f"{rtol:.0e}; loosen it, or compute in float64"
        )


def in_order(times: Float[Array, " time"]) -> Bool[Array, ""]:
    """Whether times rise or fall strictly, but for the first, which may come twice, and padding."""
    direction = jnp.sign(times[-1] - times[0])
    moves = direction * jnp.diff(times)
    rests = moves[1:] == 0
    padding = times[1:-1] == times[-1]
    return jnp.all(jnp.isfinite(times)) & jnp.all(moves >= 0) & jnp.all(~rests | padding)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether no leaf has a NaN or an infinity."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def cause_of(result: diffrax.RESULTS, rejected: Array, accepted: Array) -> Int[Array, ""]:
    """The cause that diffrax knows of."""
    truncated = jnp.where(rejected > accepted, REJECTED, TRUNCATED)
    failed = jnp.where(result == diffrax.RESULTS.max_steps_reached, truncated, REJECTED)
    return jnp.where(result == diffrax.RESULTS.successful, SUCCESS, failed)


def cause_of_steps(
    needed: Int[Array, ""],
    max_steps: int,
    reversible: Bool[Array, ""],
    stable: Bool[Array, ""],
) -> Int[Array, ""]:
    """The cause that a reversible solve knows of."""
    retraced = jnp.where(stable, jnp.where(reversible, SUCCESS, IRREVERSIBLE), UNSTABLE)
    return jnp.where(needed > max_steps, TRUNCATED, retraced)


def still_one(values: PyTree, gap: Float[Array, " time"]) -> Bool[Array, ""]:
    """Whether the two solutions that a reversible scheme couples are about one.

    NaN is the business of ``with_values``, and rows that were not reached have nothing to say.
    """
    sizes = [jnp.nanmax(jnp.abs(x)) for x in jax.tree.leaves(values)]
    return ~(jnp.nanmax(gap) > _MOST_APART * jnp.max(jnp.stack(sizes)))


def with_values(cause: Int[Array, ""], values: PyTree) -> Int[Array, ""]:
    """The cause, once the values are seen: fixed steps run on through NaN and infinity."""
    return jnp.where((cause == SUCCESS) & ~all_finite(values), NOT_FINITE, cause)


def reached_rows(values: PyTree, cause: Int[Array, ""]) -> Bool[Array, " time"]:
    """Rows that may be used: all, those before a truncation, or none."""
    rows = [jnp.all(jnp.isfinite(x.reshape(x.shape[0], -1)), 1) for x in jax.tree.leaves(values)]
    finite = jnp.all(jnp.stack(rows), 0)
    return (finite & (cause == TRUNCATED)) | (cause == SUCCESS)


def refuse_arguments(z0: PyTree, times: Array) -> PyTree:
    """The state, with run-time errors for values that only a run knows."""
    for wrong, message in (
        (~jnp.all(jnp.isfinite(times)), _TIMES_FINITE),
        (~in_order(times), _ORDER),
        (~all_finite(z0), _STATE_FINITE),
    ):
        z0 = _run_time.error_if(z0, wrong, message)
    return z0


def refuse_failure(values: PyTree, cause: Int[Array, ""], integrator: Integrator) -> PyTree:
    """The values, with a run-time error that says why there are none and what to do."""
    limit, solver = integrator.max_steps, type(integrator.solver).__name__
    messages = [
        f"solve: {solver} took max_steps={limit} steps and did not reach the last time; raise "
        "max_steps, loosen the tolerance or the step, or shorten the times; if that does not help, "
        "the equation is stiff (use an implicit solver, such as Kvaerno5) or its solution diverges",
        f"solve: {solver} rejected most of max_steps={limit} steps, as its step size fell towards "
        "0; the field is not finite somewhere, or too stiff: look at its values, use smooth "
        "activations and smaller weights, or an implicit solver such as Kvaerno5",
        f"solve: {solver} reached NaN or infinity; the solution diverges or the field is not "
        "finite: shorten the step, bound the field, or use adaptive steps",
        f"solve: {integrator.adjoint} could not retrace so many steps, as errors grow by "
        "1/coupling in each; leave the coupling at None, which ties it to their number",
        f"solve: the two solutions that {integrator.adjoint} couples have parted, and neither is "
        "the equation's; it contracts too much for so long a span, or the step is too long: use "
        "Checkpointed, a shorter span, or a shorter step",
    ]
    return _run_time.one_of_errors_if(values, cause != SUCCESS, jnp.maximum(cause - 1, 0), messages)
