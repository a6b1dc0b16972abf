"""Which step of a chunk failed, and what was not finite in it.

Training itself checks only the surrogate of each step, and the parameters at the end of a chunk,
which costs nothing. When either is not finite, this slower loop repeats the chunk from its first
state and checks every gradient and every parameter.
"""

from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from jaxvae._types import PyTree
from jaxvae.training.batches import Batches, for_each_step
from jaxvae.training.failures.finite import finite_groups, no_nan, where
from jaxvae.training.state import TrainState
from jaxvae.training.step import TrainStep


class Diagnosis(NamedTuple):
    """The first step with a number that was not finite; quantities in the order of computation.

    Attributes:
        step: the step, or -1 if there was none.
        surrogate: whether the mean surrogate was finite.
        gradient: the same for the gradient of each group of parameters.
        params: the same for the parameters of each group after the update.
        optimiser: the same for the optimiser's state after the update.
    """

    step: Int[Array, "*members"]
    surrogate: Bool[Array, "*members"]
    gradient: Mapping[str, Array]
    params: Mapping[str, Array]
    optimiser: Bool[Array, "*members"]

    def of(self, member: int) -> "Diagnosis":
        """The diagnosis of one of several members."""
        return jax.tree.map(itemgetter(member), self)

    def quantity(self, only_updates: bool = False) -> str:
        """The first quantity that was not finite, with its group."""
        if not self.surrogate and not only_updates:
            return "the surrogate"
        checked = {} if only_updates else {"gradient": self.gradient}
        for name, groups in (checked | {"update": self.params}).items():
            bad = [group for group, finite in groups.items() if not finite]
            if bad:
                return f"the {name} of {' and '.join(bad)}"
        return "the optimiser's state"


def diagnose(
    train_step: TrainStep,
    state: TrainState,
    hyperparameters: PyTree,
    batches: Batches,
    stop: Int[Array, ""],
    *,
    only_updates: bool = False,
) -> tuple[TrainState, Diagnosis]:
    """Train up to ``stop``, but make no update from the first step with a bad number on.

    Args:
        train_step: how a step is taken.
        state: where the chunk began.
        hyperparameters: the member's own.
        batches: where the rows of each step come from.
        stop: where it ended.
        only_updates: whether to accept bad surrogates and gradients, as their update is skipped.

    Returns:
        The state before that step (though with ``stop`` as its step), and the diagnosis.
    """
    train_step = replace(train_step, hyperparameters=hyperparameters)

    def take_step(carry, rows):
        state, diagnosis = carry
        gradient, estimate = train_step.gradient(state, rows)
        after = train_step.update(state, gradient, estimate)
        found = Diagnosis(
            state.step,
            jnp.isfinite(estimate.surrogate),
            finite_groups(gradient),
            finite_groups(after.params),
            no_nan(after.optimiser),
        )
        good = _all_good(found, only_updates)
        first = (diagnosis.step < 0) & ~good
        diagnosis = where(first, found, diagnosis)
        kept = where(
            diagnosis.step < 0, (after.params, after.optimiser), (state.params, state.optimiser)
        )
        return after._replace(params=kept[0], optimiser=kept[1]), diagnosis

    yes = jnp.bool_(True)
    groups = jax.tree.map(lambda flag: yes, finite_groups(state.params))
    fine = Diagnosis(jnp.full_like(state.step, -1), yes, groups, groups, yes)
    return for_each_step(
        take_step, (state, fine), batches, stop, train_step.batch_size, train_step.layout
    )


def _all_good(found: Diagnosis, only_updates: bool) -> Bool[Array, ""]:
    flags = [*jax.tree.leaves(found.params), found.optimiser]
    if not only_updates:
        flags += [found.surrogate, *jax.tree.leaves(found.gradient)]
    return jnp.all(jnp.array(flags))
