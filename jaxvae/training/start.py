"""The state that a fit begins with."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.run import Run
from jaxvae.training.state import Optimiser, TrainState, initial_state, with_best


def starting_state(
    init: Callable[[PRNGKey], PyTree] | TrainState,
    optimiser: Optimiser,
    key: Any,
    hyperparameters: PyTree,
    *,
    keep_best: bool,
    run: Run | None,
    num_steps: int,
) -> tuple[TrainState, int | None]:
    """The given state, a fresh one, or that of the run that is resumed; and the number of members.

    Raises:
        ValueError: if a key is missing or one too many, keys and hyperparameters disagree,
            or the state has taken more steps already.
    """
    count = _count(hyperparameters)
    if isinstance(init, TrainState):
        if key is not None:
            raise ValueError("fit expected no key with a state, which has its own; leave key out")
        state = with_best(init, keep_best)
        keys = state.key
    elif callable(init):
        state, keys = None, _keys(key, count)
    else:
        raise ValueError(
            "fit expected a function from a key to parameters, such as model.init, or a TrainState "
            f"to go on from, got {type(init).__name__}"
        )
    found = None if keys.ndim == 0 else keys.shape[0]
    if hyperparameters is not None and found != count:
        raise ValueError(
            f"hyperparameters expected vectors with one entry for each of {found or 1} members, "
            f"got {count}"
        )
    if state is None:
        state = initial_state(init, optimiser, keys, hyperparameters, keep_best=keep_best)  # pyright: ignore[reportArgumentType]
    if run is not None:
        state = run.resume(state)
    if int(state.step) > num_steps:
        raise ValueError(
            f"num_steps expected at least the {state.step} steps of the state, got {num_steps}"
        )
    return state, found


def _keys(key: Any, count: int | None) -> Array:
    typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed or key.ndim > 1 or key.size == 0:
        raise ValueError(
            "fit expected a key for fresh parameters, or a vector of keys, got "
            f"{key!r}; pass key=jax.random.key(seed)"
        )
    if key.ndim == 0 and count is not None:
        return jax.vmap(lambda _: key)(jnp.arange(count))
    return key


def _count(hyperparameters: PyTree) -> int | None:
    shapes = {np.shape(leaf) for leaf in jax.tree.leaves(hyperparameters)}
    if not shapes or shapes == {()}:
        return None
    if len(shapes) > 1 or len(min(shapes)) != 1:
        raise ValueError(
            "hyperparameters expected vectors of one length, one entry for each member, got "
            f"shapes {sorted(shapes)}"
        )
    return min(shapes)[0]
