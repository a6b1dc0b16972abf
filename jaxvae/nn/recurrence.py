"""A hidden state that is carried along the rows of an irregular, partly observed series."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar


class Recurrence(NamedTuple):
    """What happens to a hidden state between two observed rows, and at a row.

    ``run`` applies it to a series: rows of which nothing is observed leave the state alone, and
    the time that passes is counted from the last row with an observation. Padding, and rows that
    could as well have been left out, therefore change nothing, unless ``evolve`` or ``update``
    makes something there that is not finite.

    Attributes:
        init: key to fresh parameters.
        initial: dtype to the state before the first row.
        evolve: ``(params, state, gap)`` to what has become of the state after a time.
        row: ``(values, mask, gap)`` to what ``update`` takes of a row; values that are not observed
            are 0. It is made of all rows before the first one is read: joining their parts one row
            at a time costs a batch as much as the rest of a plain recurrence.
        update: ``(params, evolved, row)`` to the state after a row.
        read: an evolved state to a vector of features.
        features: its length.
        channels: channels of a series.
    """

    init: Callable[[PRNGKey], PyTree]
    initial: Callable[[DTypeLike], Any]
    evolve: Callable[[PyTree, Any, Scalar], Any]
    row: Callable[[Array, Array, Scalar], Any]
    update: Callable[[PyTree, Any, Any], Any]
    read: Callable[[Any], Array]
    features: int
    channels: int


def run(
    recurrence: Recurrence,
    params: PyTree,
    times: Float[Array, " time"],
    values: Float[Array, "time channel"],
    mask: Bool[Array, "time channel"],
) -> tuple[Any, Float[Array, "time features"]]:
    """The state after all rows, and the features of each row's past.

    Args:
        recurrence: what happens between and at the rows.
        params: its parameters.
        times: in the order of the rows, rising or falling; a gap is the distance of two times.
        values: those that are not observed may be anything.
        mask: True where observed.

    Returns:
        The state, and features (time, features): what is known when a row's time has come,
        before it is seen.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    _check.event_shape("the values of a series", (*times.shape, recurrence.channels), values.shape)
    _check.same_shape("a series", values=values, mask=mask)
    _check.floating("the times of a series", times)
    observed = jnp.any(mask, axis=1)
    passed = gaps(times, observed)
    rows = jax.vmap(recurrence.row)(jnp.where(mask, values, 0), mask, passed)

    # Weights meet a row inside the scan: all rows' products with the input weights at once cost
    # half as much again on a CPU, where what they write and read back outweighs what they save.
    def step(state: Any, row: tuple[Array, Any, Array]) -> tuple[Any, Array]:
        gap, seen, weight = row
        evolved = recurrence.evolve(params, state, gap)
        updated = recurrence.update(params, evolved, seen)
        # Exact for weights of 0 and 1. A selection in its place makes the gradient of a batch half
        # as slow again on a CPU.
        kept = jax.tree.map(lambda new, old: weight * new + (1 - weight) * old, updated, state)
        return kept, recurrence.read(evolved)

    weights = observed.astype(values.dtype)
    return lax.scan(step, recurrence.initial(values.dtype), (passed, rows, weights))


def values_and_mask(values: Array, mask: Array, gap: Scalar) -> Array:
    """A row for networks that time reaches otherwise, or not at all."""
    del gap
    return jnp.concatenate([values, mask.astype(values.dtype)])


def gaps(times: Float[Array, " time"], observed: Bool[Array, " time"]) -> Float[Array, " time"]:
    """Time since the last observed row before each row; 0 where there is none."""
    places = jnp.arange(times.shape[0])
    last = lax.cummax(jnp.where(observed, places, -1))
    before = jnp.concatenate([jnp.full_like(last[:1], -1), last[:-1]])
    return jnp.where(before < 0, 0, jnp.abs(times - times[jnp.maximum(before, 0)]))


def gap_to(time: Scalar, times: Float[Array, " time"], observed: Bool[Array, " time"]) -> Scalar:
    """Time between the last observed row and another time; 0 if there is no such row."""
    last = jnp.max(jnp.where(observed, jnp.arange(times.shape[0]), 0))
    return jnp.where(jnp.any(observed), jnp.abs(time - times[last]), 0)
