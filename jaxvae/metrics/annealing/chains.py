"""Annealed chains of one example, from an easily sampled distribution to the joint, or back."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jaxvae._types import PRNGKey, Scalar
from jaxvae.metrics.annealing.hamiltonian import LogDensity, Point, evaluate, transition

_PILOTS = 8
_WARM_UP, _AT_LEAST = 30, 64
_TARGET_ACCEPTANCE = 0.8
_FIRST_STEP_SIZE = 0.5
_GAIN = 0.5


class Chain(NamedTuple):
    """One chain.

    Attributes:
        log_weight: the sum of all changes of the log-density on the way, nats.
        acceptance: probability of every transition.
    """

    log_weight: Scalar
    acceptance: Float[Array, " transitions"]


def anneal(
    parts: Sequence[LogDensity],
    temperatures: Float[Array, " temperatures"],
    step_sizes: Float[Array, " transitions"],
    start: Float[Array, " latent"],
    *,
    key: PRNGKey,
    num_leapfrog: int,
) -> Chain:
    r"""Follow $f_\beta(z) = f_0(z)^{1-\beta} f_1(z)^\beta$ through all temperatures in turn.

    $$\log w = \sum_{t=1}^T (\beta_t - \beta_{t-1})\log\frac{f_1(z_{t-1})}{f_0(z_{t-1})}$$

    with one transition, which keeps $f_{\beta_t}$, from $z_{t-1}$ to $z_t$. If the start is drawn
    from the normalised density at the first temperature, $E[w]$ is the normaliser at the last one
    divided by that at the first.

    Args:
        parts: $\log f_0$ and $\log f_1$.
        temperatures: $\beta_0, \ldots, \beta_T$, from 0 to 1 or from 1 to 0.
        step_sizes: of the transitions at $\beta_1, \ldots, \beta_{T-1}$.
        start: $z_0$.
        key: consumed once.
        num_leapfrog: leapfrog steps in a transition.

    Reference: Neal (2001), eqs. 3 to 11.
    """
    changes = jnp.diff(temperatures)

    def move(state, inputs):
        point, total = state
        temperature, change, step_size, number = inputs
        point, acceptance = _jittered(
            parts,
            temperature,
            point,
            key=jax.random.fold_in(key, number),
            step_size=step_size,
            num_leapfrog=num_leapfrog,
        )
        return (point, _add(total, change * _log_ratio(point))), acceptance

    point = evaluate(parts, start)
    first = changes[0] * _log_ratio(point)
    inputs = temperatures[1:-1], changes[1:], step_sizes, jnp.arange(len(step_sizes))
    (_, (log_weight, _)), acceptance = lax.scan(
        move, (point, (first, jnp.zeros_like(first))), inputs
    )
    return Chain(log_weight, acceptance)


def tune(
    parts: Sequence[LogDensity],
    temperatures: Float[Array, " temperatures"],
    draw: Callable[[PRNGKey], Float[Array, " latent"]],
    *,
    key: PRNGKey,
    num_leapfrog: int,
) -> Float[Array, " transitions"]:
    """A step size for every transition, from a few pilot chains that are thrown away.

    The chains that count see fixed step sizes, which are independent of their noise: adapting
    within them would cost their weights the exact expectation.

    Args:
        parts: as in ``anneal``.
        temperatures: from 0 to 1.
        draw: a key to a draw at temperature 0.
        key: consumed once.
        num_leapfrog: leapfrog steps in a transition.
    """

    def move(state, inputs):
        points, log_step = state
        temperature, number = inputs
        keys = jax.random.split(jax.random.fold_in(move_key, number), _PILOTS)
        points, acceptance = jax.vmap(
            lambda point, key: _jittered(
                parts,
                temperature,
                point,
                key=key,
                step_size=jnp.exp(log_step),
                num_leapfrog=num_leapfrog,
            )
        )(points, keys)
        log_step = log_step + _GAIN * (jnp.mean(acceptance) - _TARGET_ACCEPTANCE)
        return (points, log_step), log_step

    start_key, move_key = jax.random.split(key)
    starts = jax.vmap(draw)(jax.random.split(start_key, _PILOTS))
    points = jax.vmap(lambda start: evaluate(parts, start))(starts)
    # Visits to forget the first step size, and to follow where temperatures are few and far apart.
    transitions = len(temperatures) - 2
    visits = np.full(transitions, math.ceil(_AT_LEAST / transitions))
    visits[0] += _WARM_UP
    visited = np.repeat(np.arange(1, transitions + 1), visits)
    first = jnp.log(jnp.full((), _FIRST_STEP_SIZE, temperatures.dtype))
    _, log_steps = lax.scan(move, (points, first), (temperatures[visited], np.arange(len(visited))))
    return jnp.exp(log_steps[np.cumsum(visits) - 1])


def _jittered(
    parts: Sequence[LogDensity],
    temperature: Scalar,
    point: Point,
    *,
    key: PRNGKey,
    step_size: Scalar,
    num_leapfrog: int,
) -> tuple[Point, Scalar]:
    # Trajectories of one fixed length can return to where they began, and mix never.
    jitter_key, key = jax.random.split(key)
    jitter = jax.random.uniform(jitter_key, (), step_size.dtype, 0.8, 1.2)
    return transition(
        parts,
        jnp.stack([1.0 - temperature, temperature]),
        point,
        key=key,
        step_size=jitter * step_size,
        num_steps=num_leapfrog,
    )


def _log_ratio(point: Point) -> Scalar:
    return point.log_densities[1] - point.log_densities[0]


def _add(total: tuple[Array, Array], term: Array) -> tuple[Array, Array]:
    """A compensated sum: thousands of terms would lose digits of thousands of nats (Kahan)."""
    value, lost = total
    term = term - lost
    new = value + term
    lost = jnp.where(jnp.isfinite(new), (new - value) - term, 0.0)
    return new, lost
