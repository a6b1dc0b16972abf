"""The members of a run: one for each key, with a leading axis of members on the whole state."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jaxvae._types import PyTree
from jaxvae.training.state import TrainState

_AXES: Any = TrainState(params=0, optimiser=0, key=0, step=None, watch=0)  # pyright: ignore[reportArgumentType]


def vectorised(chunk: Callable) -> Callable:
    """Members side by side: every operation gets an axis of members."""

    def run(state, hyperparameters, *shared):
        axes = (_AXES, 0, *(None for _ in shared))
        mapped = jax.vmap(chunk, in_axes=axes, out_axes=(_AXES, 0))
        return mapped(state, hyperparameters, *shared)

    return run


def one_by_one(chunk: Callable) -> Callable:
    """Members one after another inside the compiled function, for networks that batch badly."""

    def run(state, hyperparameters, *shared):
        def member(leaves):
            mine, hyperparameters = leaves
            after, report = chunk(TrainState(step=state.step, **mine), hyperparameters, *shared)
            mine = after._asdict()
            step = mine.pop("step")
            return mine, step, report

        leaves = state._asdict()
        del leaves["step"]
        after, steps, report = lax.map(member, (leaves, hyperparameters))
        return TrainState(step=steps[0], **after), report

    return run


def member_of(state: TrainState, index: int | None) -> TrainState:
    """The state of one member; None is a run without the axis."""
    return state if index is None else _map_members(lambda leaf: leaf[index], state)


def put_member(state: TrainState, index: int | None, member: TrainState) -> TrainState:
    """The state with one member replaced; the step stays, unless there is but one member."""
    if index is None:
        return member
    step = state.step
    leaves, other = (s._replace(step=None) for s in (state, member))
    return jax.tree.map(lambda a, b: a.at[index].set(b), leaves, other)._replace(step=step)


def _map_members(function: Callable[[Any], Any], state: TrainState) -> TrainState:
    without: PyTree = state._replace(step=None)  # pyright: ignore[reportArgumentType]
    return jax.tree.map(function, without)._replace(step=state.step)
