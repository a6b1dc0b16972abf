"""A failed step: the error that reports it, and the files that it is kept in."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvae._types import PyTree
from jaxvae.training.runs.files import FAILURE_FOLDER, write_json
from jaxvae.training.state import TrainState

RUN_TIME_ERRORS = (RuntimeError, ValueError)
"""The types in which XLA raises an error of a compiled function."""


class Failure(NamedTuple):
    """A step with a number that is not finite, and all that is needed to repeat it.

    Attributes:
        step: number of updates before the failed one.
        member: which member, or None for a run without an axis of members.
        quantity: what was not finite, with its group of parameters.
        state: of that member, before the step.
        rows: the batch.
    """

    step: int
    member: int | None
    quantity: str
    state: TrainState
    rows: PyTree

    def describe(self) -> str:
        """Quantity, member and step in a sentence."""
        whose = "" if self.member is None else f" of member {self.member}"
        return f"{self.quantity}{whose} was not finite at step {self.step}"


class NonFiniteError(FloatingPointError):
    """A number in training was not finite; ``failure`` holds the state and the batch."""

    def __init__(self, failure: Failure, where: str = ""):
        self.failure = failure
        advice = "try a smaller learning rate, clip gradients (optax.clip_by_global_norm)"
        if failure.step == 0:
            advice = "this is the first step, so check the range of the data and the model"
        super().__init__(
            f"{failure.describe()}{where}; {advice}, or repeat the step with jaxvae.training.replay"
        )


class InterruptedStepError(FloatingPointError):
    """The loss raised an error within a compiled step, such as that of a solve that failed."""

    def __init__(self, first: int, stop: int, message: str, where: str = ""):
        super().__init__(f"between steps {first} and {stop}{where}: {message}")


def message_of(error: Exception) -> str | None:
    """The message given to ``equinox.error_if``, without what XLA adds; None for other errors."""
    found = re.search(r"EquinoxRuntimeError: (.+)", str(error))
    return found.group(1) if found else None


def save_failure(folder: Path, failure: Failure) -> Path:
    """Write state, batch and a description into the run's folder, and return where they are."""
    target = _place(folder, failure.member)
    target.mkdir(parents=True, exist_ok=True)
    plain = _without_watch(failure.state, jax.random.key_data(failure.state.key))
    for name, tree in {"state": plain, "rows": failure.rows}.items():
        leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
        np.savez(target / f"{name}.npz", allow_pickle=False, **leaves)
    about = {
        "step": failure.step,
        "member": failure.member,
        "quantity": failure.quantity,
        "key_impl": str(jax.random.key_impl(failure.state.key)),
    }
    write_json(target / "failure.json", about)
    return target


def _place(folder: Path, member: int | None) -> Path:
    return folder / FAILURE_FOLDER / ("" if member is None else f"member_{member}")


def load_failure(
    folder: Path, like: TrainState, rows_like: PyTree, member: int | None = None
) -> Failure:
    """Read what ``save_failure`` wrote.

    Args:
        folder: of the run.
        like: a state of the same structure.
        rows_like: a batch or the whole data, of the same structure.
        member: which of several that failed.

    Raises:
        ValueError: if there is no failure in the folder, or it is one of another structure.
    """
    target = _place(folder, member)
    if not (target / "failure.json").exists():
        found = (
            ", ".join(path.name for path in (folder / FAILURE_FOLDER).glob("member_*")) or "none"
        )
        raise ValueError(
            f"expected a failed run in {folder}, found no "
            f"{target.relative_to(folder)}/failure.json there; members that failed: {found}"
        )
    about = json.loads((target / "failure.json").read_text())
    plain = _read(target / "state.npz", _without_watch(like, like.step))
    key = jax.random.wrap_key_data(plain.key, impl=about.pop("key_impl"))
    rows = _read(target / "rows.npz", rows_like)
    return Failure(**about, state=plain._replace(key=key), rows=rows)


def _without_watch(state: TrainState, key: Any) -> TrainState:
    # A step does not depend on the watch; npz cannot store keys.
    return state._replace(key=key, watch=None)  # pyright: ignore[reportArgumentType]


def _read(path: Path, like: PyTree) -> Any:
    with np.load(path) as saved:
        leaves = [jax.numpy.asarray(saved[str(i)]) for i in range(len(saved.files))]
    structure = jax.tree.structure(like)
    if structure.num_leaves != len(leaves):
        raise ValueError(
            f"expected {structure.num_leaves} arrays in {path}, found {len(leaves)}; pass the "
            "model, the optimiser and the data of the run that failed"
        )
    return jax.tree.unflatten(structure, leaves)
