"""The members of a run: one for each key, with a leading axis of members on the whole state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.state import Stream, TrainState, stream_key


def vectorised(chunk: Callable) -> Callable:
    """Members side by side: every operation gets an axis of members."""
    axes: Any = TrainState(params=0, optimiser=0, key=0, step=None)  # pyright: ignore[reportArgumentType]
    return jax.vmap(chunk, in_axes=(axes, None, None, None), out_axes=(axes, 0))


def one_by_one(chunk: Callable) -> Callable:
    """Members one after another inside the compiled function, for networks that batch badly."""

    def run(state, data, held_out, stop):
        def member(leaves):
            params, optimiser, key = leaves
            before = TrainState(params, optimiser, key, state.step)
            after, report = chunk(before, data, held_out, stop)
            return (after.params, after.optimiser, after.key), report

        leaves, report = lax.map(member, (state.params, state.optimiser, state.key))
        return TrainState(*leaves, step=stop), report

    return run


def initial_state(
    init: Callable[[PRNGKey], PyTree], optimiser: optax.GradientTransformation, key: Array
) -> TrainState:
    """Fresh parameters and optimiser state; one member per key."""

    def member(key):
        params = init(stream_key(key, Stream.INIT))
        return TrainState(params, optimiser.init(params), key, jnp.zeros((), jnp.int32))

    if key.ndim == 0:
        return jax.jit(member)(key)
    return jax.jit(jax.vmap(member))(key)._replace(step=jnp.zeros((), jnp.int32))
