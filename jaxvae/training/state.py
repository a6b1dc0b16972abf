"""The state of training, and the random keys that follow from it."""

from collections.abc import Callable
from enum import IntEnum
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.optimiser import Optimiser, averaged_params, optimiser_of

Choice = Literal["last", "best", "average"]
"""Which parameters of a state: the last, the best by held-out bound, or the moving average."""


class Purpose(IntEnum):
    """What random numbers are drawn for: each purpose has keys of its own."""

    INIT = 0
    ORDER = 1
    PREPARE = 2
    NOISE = 3
    HELD_OUT = 4


def purpose_key(root: PRNGKey, purpose: Purpose, index: Int[Array, ""] | int = 0) -> PRNGKey:
    """The key of a purpose at an epoch or step, a function of the seed and this index alone."""
    return jax.random.fold_in(jax.random.fold_in(root, purpose), index)


class Best(NamedTuple):
    """The parameters with the highest held-out bound, with the optimiser state of that step."""

    params: PyTree
    optimiser: PyTree


class Watch(NamedTuple):
    """What decides whether a member goes on training.

    Attributes:
        failed_at: step at which something was not finite, or -1; the state is the one before it.
        stopped_at: step at which patience ran out, or -1.
        best_bound: highest held-out bound so far, nats.
        best_step: its step, or -1.
        stale: number of held-out evaluations since then.
        best: parameters and optimiser state of ``best_step``, or None if they are not kept.
    """

    failed_at: Int[Array, "*members"]
    stopped_at: Int[Array, "*members"]
    best_bound: Float[Array, "*members"]
    best_step: Int[Array, "*members"]
    stale: Int[Array, "*members"]
    best: Best | None

    @property
    def alive(self) -> Bool[Array, "*members"]:
        """Whether a member goes on training."""
        return (self.failed_at < 0) & (self.stopped_at < 0)


class TrainState(NamedTuple):
    """Everything that a step changes, and the key, which no step changes.

    With several members every leaf but ``step`` has a leading axis of members. A member that has
    failed or stopped keeps its state while ``step`` goes on.

    Attributes:
        params: the parameters.
        optimiser: the state of the optax optimiser.
        key: root of all randomness of this member.
        step: number of steps taken, the same for all members.
        watch: whether a member goes on training, and its best parameters.
    """

    params: PyTree
    optimiser: PyTree
    key: Array
    step: Int[Array, ""]
    watch: Watch


def initial_state(
    init: Callable[[PRNGKey], PyTree],
    optimiser: Optimiser,
    key: Array,
    hyperparameters: PyTree = None,
    *,
    keep_best: bool = False,
) -> TrainState:
    """Fresh parameters and optimiser state; one member for each key of a vector of keys."""

    def member(key, hyperparameters):
        params = init(purpose_key(key, Purpose.INIT))
        started = optimiser_of(optimiser, hyperparameters).init(params)
        best = Best(params, started) if keep_best else None
        return TrainState(params, started, key, jnp.zeros((), jnp.int32), _fresh_watch(best))

    if key.ndim == 0:
        return jax.jit(member)(key, hyperparameters)
    state = jax.jit(jax.vmap(member))(key, hyperparameters)
    return state._replace(step=jnp.zeros((), jnp.int32))


def chosen_params(state: TrainState, which: Choice) -> PyTree:
    """The last parameters of a state, the best that it kept, or their average.

    Raises:
        ValueError: if the state does not hold them.
    """
    if which == "last":
        return state.params
    if which == "average":
        return averaged_params(state.optimiser)
    if state.watch.best is None:
        raise ValueError("the best parameters expected a fit with keep_best=True")
    if np.any(np.asarray(state.watch.best_step) < 0):
        raise ValueError(
            "the best parameters expected a finite held-out bound, and there was none; "
            "look at the held-out rows, or train up to the first log record"
        )
    return state.watch.best.params


def with_best(state: TrainState, keep_best: bool) -> TrainState:
    """The same state with or without a place for the best parameters."""
    if keep_best == (state.watch.best is not None):
        return state
    watch = state.watch._replace(best=None)
    if keep_best:
        # The parameters of the best step so far were not kept, so the search begins anew.
        watch = watch._replace(
            best=Best(state.params, state.optimiser),
            best_bound=jnp.full_like(watch.best_bound, -jnp.inf),
            best_step=jnp.full_like(watch.best_step, -1),
        )
    return state._replace(watch=watch)


def _fresh_watch(best: Best | None) -> Watch:
    never = jnp.full((), -1, jnp.int32)
    return Watch(
        failed_at=never,
        stopped_at=never,
        best_bound=jnp.full((), -jnp.inf, jnp.float32),
        best_step=never,
        stale=jnp.zeros((), jnp.int32),
        best=best,
    )
