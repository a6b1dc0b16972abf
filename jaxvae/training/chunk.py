"""The compiled part of training: many steps in one loop, Python only before and after."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Int

from jaxvae._types import PRNGKey, PyTree
from jaxvae.model import Estimate, Example
from jaxvae.training.state import Stream, TrainState, stream_key


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
        train: mean estimate over the steps of the chunk, before each update.
        held_out: mean estimate over the held-out rows after the last step, if there are any.
        first_bad_step: first step with a non-finite surrogate, or -1.
    """

    train: Estimate
    held_out: Estimate | None
    first_bad_step: Int[Array, ""]


class Procedure(NamedTuple):
    """The static description of a step.

    Attributes:
        loss: estimate of one example.
        settings: numbers for the loss as a function of the step.
        prepare: row to example.
        optimiser: an optax optimiser, which minimises minus the surrogate.
        batch_size: rows per step; the last partial batch of an epoch is dropped.
    """

    loss: Loss
    settings: Callable[[Int[Array, ""]], PyTree]
    prepare: Prepare
    optimiser: optax.GradientTransformation
    batch_size: int

    def estimator(self, params: PyTree, step: Int[Array, ""]) -> Callable[..., Estimate]:
        """The map from (row, key to prepare it, key for the loss) to its estimate."""
        settings = self.settings(step)

        def estimate(row, prepare_key, noise_key):
            example = self.prepare(row, key=prepare_key)
            return self.loss(params, example, key=noise_key, settings=settings)

        return estimate


def train_step(
    procedure: Procedure, state: TrainState, rows: PyTree
) -> tuple[TrainState, Estimate]:
    """One update, and the mean estimate before it."""
    size = procedure.batch_size
    prepare_keys = jax.random.split(stream_key(state.key, Stream.PREPARE, state.step), size)
    noise_keys = jax.random.split(stream_key(state.key, Stream.NOISE, state.step), size)

    def negative_surrogate(params):
        estimates = jax.vmap(procedure.estimator(params, state.step))(
            rows, prepare_keys, noise_keys
        )
        mean = _mean(estimates)
        return -mean.surrogate, mean

    gradients, estimate = jax.grad(negative_surrogate, has_aux=True)(state.params)
    # Adam mixes its integer counter with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimiser = optax.with_extra_args_support(procedure.optimiser).update(
            gradients, state.optimiser, state.params, value=-estimate.surrogate
        )
        params = optax.apply_updates(state.params, updates)
    return TrainState(params, optimiser, state.key, state.step + 1), estimate


def run_chunk(
    procedure: Procedure, state: TrainState, data: PyTree, held_out: PyTree, stop: Int[Array, ""]
) -> tuple[TrainState, Report]:
    """Train from ``state.step`` up to ``stop``: a loop over epochs around a loop over batches.

    Both bounds are traced, so one compilation serves chunks of every length.
    """
    num_rows = jax.tree.leaves(data)[0].shape[0]
    steps_per_epoch = num_rows // procedure.batch_size

    def step(batch, carry):
        state, order, total, bad = carry
        first = batch * procedure.batch_size
        index = lax.dynamic_slice_in_dim(order, first, procedure.batch_size)
        rows = jax.tree.map(partial(_take_rows, index), data)
        after, estimate = train_step(procedure, state, rows)
        bad = jnp.where((bad < 0) & ~jnp.isfinite(estimate.surrogate), state.step, bad)
        return after, order, jax.tree.map(jnp.add, total, estimate), bad

    def epoch(carry):
        state, total, bad = carry
        number = state.step // steps_per_epoch
        order = _random_order(stream_key(state.key, Stream.ORDER, number), num_rows)
        first = state.step - number * steps_per_epoch
        last = jnp.minimum(stop - number * steps_per_epoch, steps_per_epoch)
        state, _, total, bad = lax.fori_loop(first, last, step, (state, order, total, bad))
        return state, total, bad

    some_rows = jax.tree.map(lambda array: array[: procedure.batch_size], data)
    estimate = jax.eval_shape(partial(train_step, procedure), state, some_rows)[1]
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), estimate)
    carry = (state, total, jnp.full_like(state.step, -1))
    start = state.step
    state, total, bad = lax.while_loop(lambda carry: carry[0].step < stop, epoch, carry)
    steps = jnp.maximum(stop - start, 1)
    mean = jax.tree.map(lambda leaf: leaf / steps.astype(leaf.dtype), total)
    return state, Report(mean, held_out_estimate(procedure, state, held_out), bad)


def held_out_estimate(procedure: Procedure, state: TrainState, rows: PyTree) -> Estimate | None:
    """Mean estimate of rows that are never trained on, with the same noise each time."""
    if rows is None:
        return None
    size = jax.tree.leaves(rows)[0].shape[0]
    estimate = procedure.estimator(state.params, state.step)

    def one(argument):
        row, number = argument
        prepare_key, noise_key = jax.random.split(stream_key(state.key, Stream.HELD_OUT, number))
        return estimate(row, prepare_key, noise_key)

    return _mean(lax.map(one, (rows, jnp.arange(size)), batch_size=256))


def _random_order(key: PRNGKey, size: int) -> Int[Array, " rows"]:
    """A permutation by one sort of random bits, where ``jax.random.permutation`` sorts twice.

    The second sort is there for ties, of which 60,000 rows have half a pair on average.
    """
    return jnp.argsort(jax.random.bits(key, (size,)))


def _take_rows(index: Int[Array, " batch"], array: Array) -> Array:
    # Rows are copied in one piece each; an image's short rows would be copied one by one.
    flat = array.reshape(array.shape[0], -1)[index]
    return flat.reshape(index.shape[0], *array.shape[1:])


def _mean(estimates: Estimate) -> Estimate:
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), estimates)
