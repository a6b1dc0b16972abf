"""The compiled part of training: many steps in one loop, Python only before and after."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Int

from jaxvae._types import PyTree
from jaxvae.model import Estimate, map_examples
from jaxvae.training.batches import Batches, batch_of, for_each_step
from jaxvae.training.failures.finite import all_finite, no_nan, where
from jaxvae.training.state import Best, Purpose, TrainState, Watch, purpose_key
from jaxvae.training.step import TrainStep, mean_estimate

EVALUATED_AT_ONCE = 256
"""Held-out rows that are evaluated side by side."""


class Report(NamedTuple):
    """What a chunk of steps tells Python.

    Attributes:
        mean: of the estimates of the steps with a finite surrogate, each before its update.
        num_finite: number of those steps.
        held_out: mean estimate over the held-out rows after the last step, where it was asked for.
        bad_step: first step with a surrogate that is not finite, or -1.
        finite: after the last step, whether all parameters are finite and no number in the
            optimiser's state is NaN.
        alive: whether the member trains on, after the evaluation.
    """

    mean: Estimate
    num_finite: Int[Array, "*members"]
    held_out: Estimate | None
    bad_step: Int[Array, "*members"]
    finite: Bool[Array, "*members"]
    alive: Bool[Array, "*members"]


def train_chunk(
    train_step: TrainStep,
    state: TrainState,
    hyperparameters: PyTree,
    batches: Batches,
    held_out: PyTree,
    stop: Int[Array, ""],
    evaluate: Bool[Array, ""],
) -> tuple[TrainState, Report]:
    """Train one member from ``state.step`` up to ``stop``, then evaluate the held-out rows.

    The bounds are traced, so one compilation serves chunks of every length. A member that no
    longer trains comes out as it went in, at the price of one copy a chunk and none a step.

    Args:
        train_step: how a step is taken.
        state: where to begin.
        hyperparameters: the member's own.
        batches: where the rows of each step come from.
        held_out: rows to evaluate, or None.
        stop: the step to stop before.
        evaluate: whether to look at the held-out rows.
    """
    train_step = replace(train_step, hyperparameters=hyperparameters)
    layout, batch_size = train_step.layout, train_step.batch_size
    # Tracing takes as long as a third of compiling: the shape and the steps share one.
    differentiate = jax.jit(train_step.gradient)
    rows = batch_of(batches, state, state.step, batch_size, layout)
    _, estimate = jax.eval_shape(differentiate, state, rows)

    def take_step(carry, rows):
        state, mean, count, bad = carry
        gradient, estimate = differentiate(state, rows)
        after = train_step.update(state, gradient, estimate)
        good = jnp.isfinite(estimate.surrogate)
        count = count + good.astype(count.dtype)
        # A running mean, because the float32 sum of many steps would lose their last digits.
        moved = jax.tree.map(lambda m, x: m + (x - m) / count.astype(x.dtype), mean, estimate)
        bad = jnp.where((bad < 0) & ~good, state.step, bad)
        return after, where(good, moved, mean), count, bad

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), estimate)
    zero = jnp.zeros_like(state.step)
    trained, mean, count, bad = for_each_step(
        take_step, (state, nothing, zero, zero - 1), batches, stop, batch_size, layout
    )
    finite = all_finite(trained.params) & no_nan(trained.optimiser)
    alive = state.watch.alive
    params, optimiser = where(
        alive, (trained.params, trained.optimiser), (state.params, state.optimiser)
    )
    state = trained._replace(params=params, optimiser=optimiser)
    state, bound = _evaluate(train_step, state, held_out, evaluate)
    bad, finite = jnp.where(alive, bad, -1), finite | ~alive
    return state, Report(mean, count, bound, bad, finite, state.watch.alive)


def held_out_estimate(train_step: TrainStep, state: TrainState, rows: PyTree) -> Estimate:
    """Mean estimate of rows that are never trained on, with the same noise each time."""
    size = jax.tree.leaves(rows)[0].shape[0]
    estimator = train_step.estimator(state.params, state.step)

    def of_row(row, number):
        keys = jax.random.split(purpose_key(state.key, Purpose.HELD_OUT, number))
        return estimator(row, *keys)

    return mean_estimate(map_examples(of_row, rows, jnp.arange(size), batch_size=EVALUATED_AT_ONCE))


def _evaluate(
    train_step: TrainStep, state: TrainState, held_out: PyTree, evaluate: Bool[Array, ""]
) -> tuple[TrainState, Estimate | None]:
    if held_out is None:
        return state, None
    shape = jax.eval_shape(lambda s: held_out_estimate(train_step, s, held_out), state)

    def look(state):
        estimate = held_out_estimate(train_step, state, held_out)
        return _watched(state, estimate.bound, train_step.patience), estimate

    def pass_by(state):
        return state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)

    return lax.cond(evaluate, look, pass_by, state)


def _watched(state: TrainState, bound: Array, patience: int | None) -> TrainState:
    """Remember the best bound, and stop a member that has not passed it for too long."""
    watch = state.watch
    better = watch.alive & (bound > watch.best_bound)
    stale = jnp.where(better, 0, watch.stale + 1)
    stopped = watch.stopped_at
    if patience is not None:
        stopped = jnp.where(watch.alive & (stale >= patience), state.step, stopped)
    best = watch.best
    if best is not None:
        best = where(better, Best(state.params, state.optimiser), best)
    return state._replace(
        watch=Watch(
            failed_at=watch.failed_at,
            stopped_at=stopped,
            best_bound=jnp.where(better, bound, watch.best_bound),
            best_step=jnp.where(better, state.step, watch.best_step),
            stale=jnp.where(watch.alive, stale, watch.stale),
            best=best,
        )
    )
