"""What went wrong, and at which step: the steps of a chunk once more, each looked at closely.

Training itself only watches the surrogate, and the parameters at the end of a chunk, which costs
nothing. When either is not finite, the chunk is repeated from the state that it began with by
this slower loop, which looks at every gradient and every parameter.
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
    """The first step at which something was not finite, in the order in which it is computed.

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
        looked_at = {} if only_updates else {"gradient": self.gradient}
        for name, groups in (looked_at | {"update": self.params}).items():
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
    """Train up to ``stop``, but stand still before the first step with something not finite.

    Args:
        train_step: how a step is taken.
        state: where the chunk began.
        hyperparameters: the member's own.
        batches: where the rows of its steps come from.
        stop: where it ended.
        only_updates: whether a surrogate and gradients may be bad, as their update is skipped.

    Returns:
        The state before that step (its ``step`` is ``stop`` all the same), and the diagnosis.
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
        good = _nothing_to_report(found, only_updates)
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


def _nothing_to_report(found: Diagnosis, only_updates: bool) -> Bool[Array, ""]:
    flags = [*jax.tree.leaves(found.params), found.optimiser]
    if not only_updates:
        flags += [found.surrogate, *jax.tree.leaves(found.gradient)]
    return jnp.all(jnp.array(flags))
