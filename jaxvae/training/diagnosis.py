"""What went wrong, and at which step: the steps of a chunk once more, each looked at closely.

Training itself only watches the surrogate, and the parameters at the end of a chunk, which costs
nothing. When either is not finite, the chunk is repeated from the state that it began with by
this slower loop, which looks at every gradient and every parameter.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from jaxvae._types import PyTree
from jaxvae.training.chunk import Procedure, gradients, update
from jaxvae.training.finite import all_finite, no_nan, where
from jaxvae.training.rows import Feed, for_each_step
from jaxvae.training.state import TrainState


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
    procedure: Procedure,
    state: TrainState,
    feed: Feed,
    stop: Int[Array, ""],
    *,
    only_updates: bool = False,
) -> tuple[TrainState, Diagnosis]:
    """Train up to ``stop``, but stand still before the first step with something not finite.

    Args:
        procedure: of the step.
        state: where the chunk began.
        feed: its rows.
        stop: where it ended.
        only_updates: whether a surrogate and gradients may be bad, as their update is skipped.

    Returns:
        The state before that step (its ``step`` is ``stop`` all the same), and the diagnosis.
    """

    def take_step(carry, rows):
        state, diagnosis = carry
        gradient, estimate = gradients(procedure, state, rows)
        after = update(procedure, state, gradient, estimate)
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
        take_step,
        lambda carry: carry[0].step,
        state.key,
        (state, fine),
        feed,
        stop=stop,
        batch_size=procedure.batch_size,
        own=procedure.layout.own,
    )


def groups_of(params: PyTree) -> dict[str, PyTree]:
    """The uppermost parts of parameters by name: ``generative`` and ``inference`` of ``Params``."""
    parts: dict[str, list[Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path[:1], simple=True) if path else "the parameters"
        parts.setdefault(name, []).append(leaf)
    return parts


def _nothing_to_report(found: Diagnosis, only_updates: bool) -> Bool[Array, ""]:
    flags = [*jax.tree.leaves(found.params), found.optimiser]
    if not only_updates:
        flags += [found.surrogate, *jax.tree.leaves(found.gradient)]
    return jnp.all(jnp.array(flags))


def finite_groups(tree: PyTree) -> dict[str, Array]:
    """Whether all numbers of each group are finite."""
    return {name: all_finite(part) for name, part in groups_of(tree).items()}
