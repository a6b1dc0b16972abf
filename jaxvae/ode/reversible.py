"""Explicit Runge-Kutta methods whose steps can be undone, so that a gradient keeps no states."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float, Int

from jaxvae import _check
from jaxvae._types import PyTree, Scalar
from jaxvae.ode.reversible_steps import Method, increment, integrate

_GROWTH = 10.0
r"""Bound on the logarithm of $\lambda^{-n}$ by default.

Solutions that shrink by up to e^-10 are then stable forwards, and float32 still undoes steps of
those that grow by e^9.
"""

_UNCOUNTED = 2**29


@dataclass(frozen=True)
class Reversible:
    r"""States are reconstructed by undoing the steps: memory does not depend on their number.

    The gradient is that of the numbers computed, exact to rounding, with respect to initial state,
    parameters and times, at about the cost of backpropagation. The scheme is stable if no solution
    shrinks by more than e^10 over the time span; where its two solutions diverge, ``solve`` fails.
    See ``reversible_solve``.

    Attributes:
        coupling: $\lambda$ in (0, 1); None for $n/(n + 10)$ with n steps. A smaller one is stable
            for fields that contract more, but undoing n steps magnifies rounding by
            $\lambda^{-n}$.

    Reference: McCallum and Foster (2024), Efficient, accurate and stable gradients for neural ODEs.
    """

    coupling: float | None = None

    def __post_init__(self):
        if self.coupling is not None and not 0.0 < self.coupling < 1.0:
            raise ValueError(
                "Reversible.coupling expected a number between 0 and 1, both excluded, got "
                f"{self.coupling!r}; None fits it to the number of steps"
            )


class ReversibleSolution(NamedTuple):
    r"""What ``reversible_solve`` returns. Only ``values`` has a gradient.

    Attributes:
        values: (time, *state); NaN where not reached.
        gap: largest difference, at each time, between the two solutions $y$ and $z$ that the
            scheme couples. It is of the size of the error, or of what an unstable coupling makes
            of it.
        reached: whether the steps to this time were within ``max_steps``.
        steps: steps taken, n.
        needed: steps that the last time would take; $2^{29}$ stands for more than can be counted.
        coupling: $\lambda$.
        reversible: whether $\lambda^{-n}\epsilon \le 1$ with the rounding $\epsilon$ of the state's
            type. If not, the steps cannot be undone: the values are good, gradients are not.
    """

    values: PyTree
    gap: Float[Array, " time"]
    reached: Bool[Array, " time"]
    steps: Int[Array, ""]
    needed: Int[Array, ""]
    coupling: Scalar
    reversible: Bool[Array, ""]


def reversible_solve(
    field: Callable[[Scalar, PyTree, PyTree], PyTree],
    params: PyTree,
    z0: PyTree,
    ts: Float[Array, " time"],
    *,
    tableau: diffrax.ButcherTableau,
    dt0: float,
    max_steps: int,
    coupling: float | None = None,
) -> ReversibleSolution:
    r"""The solution of $\dot z = f(t, z; \theta)$ by fixed steps that can be undone.

    With $\Psi_h(t, z)$ the increment of one step of the method that the tableau describes,

    $$y_{n+1} = \lambda y_n + (1-\lambda)z_n + \Psi_h(t_n, z_n),\qquad
      z_{n+1} = z_n - \Psi_{-h}(t_{n+1}, y_{n+1}),\qquad y_0 = z_0.$$

    The values are the $y_n$; they have the order of the method. An interval between two times is
    divided into the least number of equal steps not above ``dt0``, up to rounding, and a repeated
    time takes none. For $\dot z = -az$ the scheme is stable if $ha \le 1-\lambda$, by default if
    the solution shrinks by less than $e^{-10}$ in all; beyond that an error grows like
    $e^{ha}\lambda$ a step. A gradient whose reconstructed initial state is off by more than
    $\epsilon^{3/4}$ of the largest value is a run-time error. Under ``vmap``, elements wait for
    each other at each time.

    Args:
        field: ``(t, z, params)`` to the derivative of z, in the structure of z. It may hold
            constant arrays; what it learns travels through ``params``.
        params: any pytree; its floating-point arrays have gradients.
        z0: the state at ``ts[0]``: floating-point arrays of one type.
        ts: rising or falling; rows of padding repeat the last time.
        tableau: of an explicit method.
        dt0: the largest step, positive.
        max_steps: the largest number of steps; times beyond are not reached.
        coupling: as of ``Reversible``.

    Raises:
        ValueError: if an argument is not as described.

    Reference: McCallum and Foster (2024), Efficient, accurate and stable gradients for neural ODEs.

    Example:
        >>> import diffrax, jax.numpy as jnp
        >>> from jaxvae.ode import reversible_solve
        >>> decay = lambda t, z, rate: -rate * z
        >>> solution = reversible_solve(
        ...     decay, jnp.array(2.0), jnp.ones(1), jnp.linspace(0.0, 1.0, 3),
        ...     tableau=diffrax.Tsit5.tableau, dt0=0.1, max_steps=100,
        ... )
        >>> int(solution.steps), bool(jnp.allclose(solution.values[-1], jnp.exp(-2.0)))
        (10, True)
    """
    Reversible(coupling)
    _check_arguments(field, params, z0, ts, tableau, dt0, max_steps)
    flat, unravel = ravel_pytree(z0)
    counts = _step_counts(lax.stop_gradient(ts), dt0)
    totals = lax.associative_scan(lambda a, b: jnp.minimum(a + b, _UNCOUNTED), counts)
    within = totals <= min(max_steps, _UNCOUNTED - 1)
    counts = jnp.where(within, counts, 0)
    steps = jnp.sum(counts)
    n = jnp.maximum(steps, 1).astype(flat.dtype)
    looseness = _GROWTH / (n + _GROWTH) if coupling is None else jnp.full_like(n, 1.0 - coupling)
    learnt, rest = eqx.partition(params, eqx.is_inexact_array)
    fixed, static = eqx.partition(rest, eqx.is_array)

    def slope(t, z, learnt, fixed):
        return ravel_pytree(field(t, unravel(z), eqx.combine(learnt, fixed, static)))[0]

    method = Method(partial(increment, tableau, slope), _message(coupling, max_steps))
    values, gap = integrate(method, flat, learnt, fixed, ts, counts, looseness)  # pyright: ignore[reportGeneralTypeIssues]
    reached = jnp.concatenate([jnp.ones(1, bool), within])
    return ReversibleSolution(
        values=jax.vmap(unravel)(jnp.where(reached[:, None], values, jnp.nan)),
        gap=jnp.where(reached, lax.stop_gradient(gap), jnp.nan),
        reached=reached,
        steps=steps,
        needed=totals[-1],
        coupling=1.0 - looseness,
        reversible=-n * jnp.log1p(-looseness) <= -math.log(float(jnp.finfo(flat.dtype).eps)),
    )


def _check_arguments(field, params, z0, ts, tableau, dt0, max_steps) -> None:
    _check.positive("reversible_solve.max_steps", max_steps)
    if not (dt0 > 0.0 and math.isfinite(dt0)):
        raise ValueError(f"reversible_solve.dt0 expected a positive step, got {dt0!r}")
    if tableau.implicit:
        raise ValueError(
            "reversible_solve expected the tableau of an explicit method, got an implicit one; "
            "use that of Tsit5 or RK4"
        )
    if ts.ndim != 1 or ts.size < 2 or not jnp.issubdtype(ts.dtype, jnp.floating):
        raise ValueError(
            "reversible_solve expected a vector of two or more floating-point times, got "
            f"{ts.dtype} of shape {ts.shape}"
        )
    state = jax.eval_shape(lambda z: jax.tree.map(jnp.asarray, z), z0)
    types = {leaf.dtype for leaf in jax.tree.leaves(state)}
    if len(types) != 1 or not jnp.issubdtype(min(types), jnp.floating):
        listed = ", ".join(sorted(map(str, types))) or "no array"
        raise ValueError(
            f"reversible_solve expected a state of one floating-point type, got {listed}"
        )
    slope = jax.eval_shape(lambda t, z: field(t, z, params), ts[0], state)
    if jax.tree.map(lambda x: (x.shape, x.dtype), slope) != jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    ):
        raise ValueError(
            f"reversible_solve expected a field with values like the state, {state}, got {slope}"
        )


def _step_counts(ts: Array, dt0: float) -> Array:
    """The least numbers of steps not above ``dt0``, but for the rounding of the times."""
    length = jnp.abs(jnp.diff(ts))
    rounding = float(jnp.finfo(ts.dtype).eps) * jnp.maximum(jnp.abs(ts[1:]), jnp.abs(ts[:-1]))
    counts = jnp.maximum(jnp.ceil((length - 4.0 * rounding) / dt0), 1.0)
    counts = jnp.where(length == 0.0, 0.0, counts)
    # NaN is not below anything.
    return jnp.where(counts < _UNCOUNTED, counts, _UNCOUNTED).astype(jnp.int32)


def _message(coupling: float | None, max_steps: int) -> str:
    used = f"n/(n + {_GROWTH:g})" if coupling is None else f"{coupling:g}"
    return (
        f"reversible_solve could not undo its n <= {max_steps} steps with coupling {used}: the "
        "reconstructed initial state is not the true one, and gradients would be wrong. The "
        "solution shrinks or grows too much over the time span: compute in float64, choose "
        "another coupling (smaller for one that shrinks), or use Checkpointed"
    )
