r"""The steps of a reversible scheme, forwards and undone, and their gradient.

Exact arithmetic can undo any number of steps, rounded arithmetic cannot: undoing a contraction of
the field or of the coupling magnifies the rounding errors. States are therefore kept as unevaluated
sums of two numbers, and an increment that was added is subtracted again to the last digits of the
second.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxvae import _run_time
from jaxvae._types import PyTree

Pair = tuple[Array, Array]
"""A number and the rounding error that it lacks."""


class Method(NamedTuple):
    r"""What is known before the run.

    Attributes:
        increment: $\Psi$ as a function of (t, z, h, learnt, fixed).
        message: what to say where steps could not be undone.
    """

    increment: Callable[..., Array]
    message: str


def increment(
    tableau: diffrax.ButcherTableau,
    slope: Callable[..., Array],
    t: Array,
    z: Array,
    h: Array,
    learnt: PyTree,
    fixed: PyTree,
) -> Array:
    r"""$\Psi_h(t, z) = h\sum_i b_i k_i$ of an explicit method, without stages that it ignores."""
    rows = [row.tolist() for row in (*tableau.a_lower, tableau.b_sol)]
    nodes = [0.0, *tableau.c.tolist()]
    step = h.astype(z.dtype)
    slopes: dict[int, Array] = {}

    def combine(row: list[float]) -> Array:
        return step * sum(weight * slopes[j] for j, weight in enumerate(row) if weight != 0.0)

    for i in _stages_used(rows):
        stage = z + combine(rows[i - 1]) if i > 0 else z
        slopes[i] = slope(t + nodes[i] * h, stage, learnt, fixed)
    return combine(rows[-1])


def _stages_used(rows: list[list[float]]) -> list[int]:
    """Stages that the last row, the solution, needs; row i - 1 leads to stage i."""
    used = {j for j, weight in enumerate(rows[-1]) if weight != 0.0}
    for i in range(len(rows) - 1, 0, -1):
        if i in used:
            used |= {j for j, weight in enumerate(rows[i - 1]) if weight != 0.0}
    return sorted(used)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def integrate(
    method: Method,
    z0: Array,
    learnt: PyTree,
    fixed: PyTree,
    ts: Array,
    counts: Array,
    looseness: Array,
) -> tuple[Array, Array]:
    r"""Solution $y$ at all times and its distance from $z$, with given numbers of steps between.

    Differentiable in ``z0``, ``learnt`` and ``ts``. What is kept for the gradient does not depend
    on the number of steps.

    Args:
        method: increment and message.
        z0: flat initial state.
        learnt: parameters with gradients.
        fixed: other arrays among the parameters.
        ts: (time,).
        counts: (time - 1,).
        looseness: $1 - \lambda$.
    """
    return _forward(method, z0, learnt, fixed, ts, counts, looseness)[0]


def _forward(method, z0, learnt, fixed, ts, counts, looseness):
    def interval(state, inputs):
        t0, t1, count = inputs
        up, down = _increments(method, fixed, count)

        def step(j, state):
            y, z = state
            y = _add(y, looseness * _difference(z, y))
            y = _add(y, up(j, z[0], t0, t1, learnt))
            return y, _add(z, down(j, y[0], t0, t1, learnt))

        y, z = lax.fori_loop(0, count, step, state)
        return (y, z), (y[0], jnp.max(jnp.abs(_difference(z, y))))

    start = (_pair(z0), _pair(z0))
    end, (values, gap) = lax.scan(interval, start, (ts[:-1], ts[1:], counts))
    values, gap = jnp.concatenate([z0[None], values]), jnp.pad(gap, (1, 0))
    size = jnp.max(jnp.abs(values))
    return (values, gap), (end, z0, size, learnt, fixed, ts, counts, looseness)


def _increments(method, fixed, count):
    """The increments of y and of z in step j of an interval, as functions of all with gradients."""

    def up(j, z, t0, t1, learnt):
        h = _step(t0, t1, count)
        return method.increment(t0 + j.astype(h.dtype) * h, z, h, learnt, fixed)

    def down(j, y, t0, t1, learnt):
        h = _step(t0, t1, count)
        return -method.increment(t0 + (j + 1).astype(h.dtype) * h, y, -h, learnt, fixed)

    return up, down


def _step(t0: Array, t1: Array, count: Array) -> Array:
    return (t1 - t0) / jnp.maximum(count, 1).astype(t0.dtype)


def _backward(method, residuals, cotangents):
    end, z0, size, learnt, fixed, ts, counts, looseness = residuals
    by_values, _ = cotangents

    def interval(carry, inputs):
        state, (y_bar, z_bar), learnt_bar = carry
        t0, t1, count, by_value = inputs
        undo = partial(_undo, _increments(method, fixed, count), count, looseness, t0, t1, learnt)
        zero = jnp.zeros_like(t0)
        carry = state, (_add(y_bar, by_value), z_bar), (_pair(zero), _pair(zero), learnt_bar)
        state, bars, (t0_bar, t1_bar, learnt_bar) = lax.fori_loop(0, count, undo, carry)
        return (state, bars, learnt_bar), (t0_bar[0], t1_bar[0])

    zeros = _pair(jnp.zeros_like(z0))
    carry = end, (zeros, zeros), jax.tree.map(lambda x: _pair(jnp.zeros_like(x)), learnt)
    inputs = ts[:-1], ts[1:], counts, by_values[1:]
    carry, (t0_bar, t1_bar) = lax.scan(interval, carry, inputs, reverse=True)
    (y, z), (y_bar, z_bar), learnt_bar = carry
    z0_bar = y_bar[0] + z_bar[0] + by_values[0]
    lost = _lost(y, z, z0, size) & jnp.any(by_values != 0.0)
    z0_bar = _run_time.error_if(z0_bar, lost, method.message)
    ts_bar = jnp.pad(t0_bar, (0, 1)) + jnp.pad(t1_bar, (1, 0))
    learnt_bar = jax.tree.map(lambda _, pair: pair[0], learnt, learnt_bar)
    return z0_bar, learnt_bar, None, ts_bar, None, None


integrate.defvjp(_forward, _backward)


def _undo(increments, count, looseness, t0, t1, learnt, i, carry):
    """Reconstruct the state before a step; take the step's cotangents back through it."""
    up, down = increments
    (y, z), (y_bar, z_bar), sums = carry
    j = count - 1 - i
    down_value, pull_down = jax.vjp(partial(down, j), y[0], t0, t1, learnt)
    z = _add(z, -down_value)
    up_value, pull_up = jax.vjp(partial(up, j), z[0], t0, t1, learnt)
    y = _add(y, -up_value)
    y = _add(y, -looseness / (1.0 - looseness) * _difference(z, y))
    by_y, *by_others = pull_down(z_bar[0])
    y_bar = _add(y_bar, by_y)
    by_z, *by_others_too = pull_up(y_bar[0])
    passed = looseness * y_bar[0]
    z_bar = _add(_add(z_bar, by_z), passed)
    y_bar = _add(y_bar, -passed)
    by_others = jax.tree.map(jnp.add, tuple(by_others), tuple(by_others_too))
    sums = jax.tree.map(lambda x, pair: _add(pair, x), by_others, sums)
    return (y, z), (y_bar, z_bar), sums


def _lost(y: Pair, z: Pair, z0: Array, size: Array) -> Array:
    """Whether the reconstructed initial state is not the true one."""
    off = jnp.maximum(jnp.max(jnp.abs(y[0] - z0)), jnp.max(jnp.abs(z[0] - z0)))
    tolerance = float(jnp.finfo(z0.dtype).eps) ** 0.75
    return jnp.isfinite(size) & ~(off <= tolerance * size)


def _pair(x: Array) -> Pair:
    return x, jnp.zeros_like(x)


def _add(pair: Pair, x: Array) -> Pair:
    """The sum of a pair and a number, rounded in the last digits of the second component."""
    # The clipping changes no finite number. It keeps the compiler from fusing the product that
    # gave x with the sum, as the number added must be the one that is subtracted later.
    most = float(jnp.finfo(x.dtype).max)
    x = jnp.clip(x, -most, most)
    leading, rest = pair
    total = leading + x
    shadow = total - leading
    rest = rest + ((leading - (total - shadow)) + (x - shadow))
    leading = total + rest
    return leading, rest - (leading - total)


def _difference(a: Pair, b: Pair) -> Array:
    return (a[0] - b[0]) + (a[1] - b[1])
