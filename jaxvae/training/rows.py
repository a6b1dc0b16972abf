"""Where the rows of a step come from: all of them on the device, or a block of a stream."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int

from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.state import Purpose, TrainState, purpose_key


class Resident(NamedTuple):
    """All rows of the data, which stay on the device; each epoch has an order of its own.

    Attributes:
        rows: arrays with rows along the first axis.
    """

    rows: PyTree


class Block(NamedTuple):
    """The batches of consecutive steps, read from a stream.

    Attributes:
        first_step: the step that the first batch belongs to.
        batches: arrays with axes (step, row of the batch, ...).
    """

    first_step: Int[Array, ""]
    batches: PyTree


Feed = Resident | Block
Own = Callable[[Any], Any]
"""A device's share of what has an entry for each row of a batch."""


def whole(rows: Any) -> Any:
    """The share of a device that is alone."""
    return rows


def batch_of(
    feed: Feed, state: TrainState, step: Int[Array, ""], batch_size: int, own: Own = whole
) -> PyTree:
    """The batch of a step that is not a training step: for a shape, or to look at a failure."""
    if isinstance(feed, Block):
        return _of_block(feed, step)
    size = _num_rows(feed.rows)
    per_epoch = size // batch_size
    order = random_order(purpose_key(state.key, Purpose.ORDER, step // per_epoch), size)
    return _of_order(feed.rows, order, step % per_epoch, batch_size, own)


def for_each_step(
    take_step: Callable[[Any, PyTree], Any],
    step_of: Callable[[Any], Int[Array, ""]],
    key: PRNGKey,
    carry: Any,
    feed: Feed,
    *,
    stop: Int[Array, ""],
    batch_size: int,
    own: Own,
) -> Any:
    """Call ``take_step(carry, batch)`` from the carry's step up to ``stop``, both traced.

    Resident rows are a loop over epochs, each of which sorts once, around a loop over batches.
    """
    if isinstance(feed, Block):
        return lax.fori_loop(
            step_of(carry), stop, lambda step, c: take_step(c, _of_block(feed, step)), carry
        )
    size = _num_rows(feed.rows)
    per_epoch = size // batch_size

    def epoch(carry):
        number = step_of(carry) // per_epoch
        order = random_order(purpose_key(key, Purpose.ORDER, number), size)
        first = step_of(carry) - number * per_epoch
        last = jnp.minimum(stop - number * per_epoch, per_epoch)

        def step(index, carry_and_order):
            carry, order = carry_and_order
            batch = _of_order(feed.rows, order, index, batch_size, own)
            return take_step(carry, batch), order

        return lax.fori_loop(first, last, step, (carry, order))[0]

    return lax.while_loop(lambda carry: step_of(carry) < stop, epoch, carry)


def random_order(key: PRNGKey, size: int) -> Int[Array, " rows"]:
    """A permutation by one sort of random bits, where ``jax.random.permutation`` sorts twice.

    The second sort is there for ties, of which 60,000 rows have half a pair on average.
    """
    return jnp.argsort(jax.random.bits(key, (size,)))


def _of_block(block: Block, step: Int[Array, ""]) -> PyTree:
    index = step - block.first_step
    return jax.tree.map(
        lambda array: lax.dynamic_index_in_dim(array, index, keepdims=False), block.batches
    )


def _of_order(
    rows: PyTree, order: Array, number: Int[Array, ""], batch_size: int, own: Own
) -> PyTree:
    index = own(lax.dynamic_slice_in_dim(order, number * batch_size, batch_size))
    return jax.tree.map(partial(_take_rows, index), rows)


def _take_rows(index: Int[Array, " batch"], array: Array) -> Array:
    # Rows are copied in one piece each; an image's short rows would be copied one by one.
    flat = array.reshape(array.shape[0], -1)[index]
    return flat.reshape(index.shape[0], *array.shape[1:])


def _num_rows(rows: PyTree) -> int:
    return jax.tree.leaves(rows)[0].shape[0]
