"""The state of a training run, and the randomness that follows from it."""

from enum import IntEnum
from typing import NamedTuple

import jax
from jax import Array
from jaxtyping import Int

from jaxvae._types import PRNGKey, PyTree


class TrainState(NamedTuple):
    """Everything that a step changes, and the key that never changes.

    With several members (seeds) every leaf but ``step`` has a leading axis of members.

    Attributes:
        params: the parameters.
        optimiser: the state of the optax optimiser.
        key: root of all randomness of this member.
        step: number of steps taken, shared by all members.
    """

    params: PyTree
    optimiser: PyTree
    key: Array
    step: Int[Array, ""]


class Stream(IntEnum):
    """Purposes that randomness is drawn for: each is a stream of its own below the root key."""

    INIT = 0
    ORDER = 1
    PREPARE = 2
    NOISE = 3
    HELD_OUT = 4


def stream_key(root: PRNGKey, stream: Stream, index: Int[Array, ""] | int = 0) -> PRNGKey:
    """The key of a purpose at an epoch or step: a function of (seed, index) and nothing else."""
    return jax.random.fold_in(jax.random.fold_in(root, stream), index)
