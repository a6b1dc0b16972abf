"""The compiled part of training: many steps in one loop, Python only before and after."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Int

from jaxvae._types import PRNGKey, PyTree
from jaxvae.model import EXAMPLES, Estimate, Example
from jaxvae.training.devices import ONE_DEVICE, Layout
from jaxvae.training.finite import all_finite, no_nan, where
from jaxvae.training.rows import Feed, batch_of, for_each_step
from jaxvae.training.state import Best, Purpose, TrainState, Watch, purpose_key


@runtime_checkable
class Loss(Protocol):
    """What training maximises the mean surrogate of."""

    def __call__(self, params: Any, example: Any, /, *, key: PRNGKey, settings: Any) -> Estimate:
        """Estimate of one example."""
        ...


@runtime_checkable
class Prepare(Protocol):
    """How a row of the data becomes an example: identity, binarisation, corruption."""

    def __call__(self, row: Any, /, *, key: PRNGKey) -> Example:
        """Example of one row, possibly random."""
        ...


class Report(NamedTuple):
    """What a chunk of steps tells Python.

    Attributes:
        mean: of the estimates of the steps with a finite surrogate, each before its update.
        num_finite: number of those steps.
        held_out: mean estimate over the held-out rows after the last step, where it was asked for.
        bad_step: first step with a non-finite surrogate, or -1.
        finite: whether the parameters are, and the optimiser holds no NaN, after the last step.
        alive: whether the member trains on, after the evaluation.
    """

    mean: Estimate
    num_finite: Int[Array, "*members"]
    held_out: Estimate | None
    bad_step: Int[Array, "*members"]
    finite: Bool[Array, "*members"]
    alive: Bool[Array, "*members"]


class Procedure(NamedTuple):
    """The static description of a step.

    Attributes:
        loss: estimate of one example.
        settings: numbers for the loss as a function of the step.
        prepare: row to example.
        optimiser: an optax optimiser, which minimises minus the surrogate.
        batch_size: rows per step; the last partial batch of an epoch is dropped.
        patience: held-out evaluations without a higher bound after which a member stops, or None.
        layout: of the devices that share the rows of a batch.
    """

    loss: Loss
    settings: Callable[[Int[Array, ""]], PyTree]
    prepare: Prepare
    optimiser: optax.GradientTransformation
    batch_size: int
    patience: int | None = None
    layout: Layout = ONE_DEVICE

    def estimator(self, params: PyTree, step: Int[Array, ""]) -> Callable[..., Estimate]:
        """The map from (row, key to prepare it, key for the loss) to its estimate."""
        settings = self.settings(step)

        def estimate(row, prepare_key, noise_key):
            example = self.prepare(row, key=prepare_key)
            return self.loss(params, example, key=noise_key, settings=settings)

        return estimate


def row_keys(state: TrainState, batch_size: int) -> tuple[Array, Array]:
    """For each row of the batch of the state's step: a key to prepare it, and one for the loss."""
    return (
        jax.random.split(purpose_key(state.key, Purpose.PREPARE, state.step), batch_size),
        jax.random.split(purpose_key(state.key, Purpose.NOISE, state.step), batch_size),
    )


def gradients(procedure: Procedure, state: TrainState, rows: PyTree) -> tuple[PyTree, Estimate]:
    """Gradient of minus the mean surrogate of a batch, and the mean estimate.

    Args:
        procedure: of the step.
        state: before the step.
        rows: this device's share of the batch.
    """
    keys = procedure.layout.own(row_keys(state, procedure.batch_size))

    def negative_surrogate(params):
        mean = mean_estimate(procedure, params, state.step, rows, *keys)
        return -mean.surrogate, mean

    return procedure.layout.mean(jax.grad(negative_surrogate, has_aux=True)(state.params))


def mean_estimate(
    procedure: Procedure, params: PyTree, step: Int[Array, ""], rows: PyTree, *keys: Array
) -> Estimate:
    """The mean over rows, each with its keys: the one place with a ``vmap`` over rows."""
    estimator = procedure.estimator(params, step)
    return _mean(jax.vmap(estimator, axis_name=EXAMPLES)(rows, *keys))


def update(
    procedure: Procedure, state: TrainState, gradient: PyTree, estimate: Estimate
) -> TrainState:
    """The state after the optimiser's step."""
    # Adam mixes its integer counter with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimiser = optax.with_extra_args_support(procedure.optimiser).update(
            gradient, state.optimiser, state.params, value=-estimate.surrogate
        )
        params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, optimiser=optimiser, step=state.step + 1)


def run_chunk(
    procedure: Procedure,
    state: TrainState,
    feed: Feed,
    held_out: PyTree,
    stop: Int[Array, ""],
    evaluate: Bool[Array, ""],
) -> tuple[TrainState, Report]:
    """Train from ``state.step`` up to ``stop``, then evaluate the held-out rows if asked to.

    The bounds are traced, so one compilation serves chunks of every length. A member that no
    longer trains comes out as it went in, at the price of one copy a chunk and none a step.
    """
    own = procedure.layout.own
    rows = batch_of(feed, state, state.step, procedure.batch_size, own)
    # Tracing takes as long as a third of compiling: the shape and the steps share one.
    differentiate = jax.jit(partial(gradients, procedure))
    _, estimate = jax.eval_shape(differentiate, state, rows)

    def take_step(carry, rows):
        state, mean, count, bad = carry
        gradient, estimate = differentiate(state, rows)
        after = update(procedure, state, gradient, estimate)
        good = jnp.isfinite(estimate.surrogate)
        count = count + good.astype(count.dtype)
        # A running mean, because the float32 sum of many steps would lose their last digits.
        moved = jax.tree.map(lambda m, x: m + (x - m) / count.astype(x.dtype), mean, estimate)
        bad = jnp.where((bad < 0) & ~good, state.step, bad)
        return after, where(good, moved, mean), count, bad

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), estimate)
    zero = jnp.zeros_like(state.step)
    trained, mean, count, bad = for_each_step(
        take_step,
        lambda carry: carry[0].step,
        state.key,
        (state, nothing, zero, zero - 1),
        feed,
        stop=stop,
        batch_size=procedure.batch_size,
        own=own,
    )
    finite = all_finite(trained.params) & no_nan(trained.optimiser)
    alive = state.watch.alive
    params, optimiser = where(
        alive, (trained.params, trained.optimiser), (state.params, state.optimiser)
    )
    state = trained._replace(params=params, optimiser=optimiser)
    state, bound = _evaluate(procedure, state, held_out, evaluate)
    bad, finite = jnp.where(alive, bad, -1), finite | ~alive
    return state, Report(mean, count, bound, bad, finite, state.watch.alive)


def held_out_estimate(procedure: Procedure, state: TrainState, rows: PyTree) -> Estimate:
    """Mean estimate of rows that are never trained on, with the same noise each time."""
    size = jax.tree.leaves(rows)[0].shape[0]
    estimate = procedure.estimator(state.params, state.step)

    def one(argument):
        row, number = argument
        prepare_key, noise_key = jax.random.split(purpose_key(state.key, Purpose.HELD_OUT, number))
        return estimate(row, prepare_key, noise_key)

    return _mean(lax.map(one, (rows, jnp.arange(size)), batch_size=256))


def _evaluate(
    procedure: Procedure, state: TrainState, held_out: PyTree, evaluate: Bool[Array, ""]
) -> tuple[TrainState, Estimate | None]:
    if held_out is None:
        return state, None
    shape = jax.eval_shape(lambda s: held_out_estimate(procedure, s, held_out), state)

    def look(state):
        estimate = held_out_estimate(procedure, state, held_out)
        return _watched(state, estimate.bound, procedure.patience), estimate

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


def _mean(estimates: Estimate) -> Estimate:
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), estimates)
