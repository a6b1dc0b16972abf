"""Checkpoints of a training state, by orbax: written asynchronously and atomically."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import optax
from jax import Array

from jaxvae._types import PyTree
from jaxvae.training.state import Best, Choice, TrainState


class Checkpoints:
    """The checkpoints of one run: a context manager, which waits for the last one to be written.

    Every checkpoint has a digest of its arrays, by which damage is noticed. All processes of a run
    save and restore together.

    Args:
        directory: created if needed.
        keep: how many of the newest checkpoints are kept.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2):
        # Imported late, as it takes a second, which a notebook that saves nothing is spared.
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            Path(directory).absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=keep)
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        finally:
            # Closing repeats the error that waiting has raised.
            with suppress(Exception):
                self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint, if there is one."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Write a state, unless its step is saved already; training may go on while it is written.

        Raises:
            ValueError: if this one or the one before could not be written.
        """
        step = int(state.step)
        if step == self.latest_step:
            return
        # A copy, because training reuses the buffers while orbax writes.
        items = jax.tree.map(_copy, _items(state))
        saved = {name: self._ocp.args.StandardSave(tree) for name, tree in items.items()}
        digests = {name: digest(tree) for name, tree in items.items()}
        digests = self._ocp.args.JsonSave(digests)
        with self._explained():
            self._manager.save(step, args=self._ocp.args.Composite(**saved, digests=digests))

    def wait(self) -> None:
        """Wait until everything saved is on the disk.

        Raises:
            ValueError: if it could not be written; what was saved before is still there.
        """
        with self._explained():
            self._manager.wait_until_finished()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and the file system raise errors of many types.
            raise ValueError(
                f"could not write a checkpoint into {self._manager.directory}: {_brief(error)}; "
                "the checkpoints before it are untouched"
            ) from error

    def restore(self, like: TrainState) -> TrainState:
        """The newest undamaged state.

        Damaged checkpoints after it are reported and deleted, as their steps will be taken, and
        saved, again.

        Args:
            like: a state of the same structure, shapes and dtypes, real or abstract.

        Raises:
            ValueError: if there is no undamaged checkpoint.
        """
        items = self._restore(_items(like), clear=True)
        progress = items["progress"]
        key = jax.random.wrap_key_data(progress["key"], impl=jax.random.key_impl(like.key))
        best = None
        if like.watch.best is not None:
            best = Best(items["best_params"], items["best_optimiser"])
        watch = progress["watch"]._replace(best=best)
        return TrainState(items["params"], progress["optimiser"], key, progress["step"], watch)

    def restore_params(self, like: PyTree, which: Choice = "last") -> PyTree:
        """Parameters alone: the newest, the best (``keep_best``) or the average (``with_average``).

        Args:
            like: parameters of the same structure.
            which: ``last``, ``best`` or ``average``.

        Raises:
            ValueError: if no checkpoint holds them undamaged.
        """
        name = {"last": "params", "best": "best_params", "average": "average_params"}[which]
        return self._restore({name: like})[name]

    def _some_step(self) -> int:
        step = self.latest_step
        if step is None:
            raise ValueError(
                f"expected a checkpoint in {self._manager.directory}, found none; "
                "train first, or name another run"
            )
        return step

    def _restore(self, like: dict[str, PyTree], *, clear: bool = False) -> dict[str, Any]:
        self._some_step()
        wanted: dict[str, Any] = {
            name: self._ocp.args.StandardRestore(jax.tree.map(_abstract, tree))
            for name, tree in like.items()
        }
        wanted["digests"] = self._ocp.args.JsonRestore()
        faults: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._manager.restore(step, args=self._ocp.args.Composite(**wanted))
                _check_digests(dict(found.items()))
            except Exception as error:  # A damaged file may raise almost anything.
                faults[step] = f"step {step}: {_brief(error)}"
                print(f"checkpoint of {faults[step]}; trying the one before it", file=sys.stderr)
                continue
            for damaged in faults if clear else ():
                self._manager.delete(damaged)
            return dict(found.items())
        raise ValueError(
            f"expected a checkpoint of this model in {self._manager.directory}, found none that "
            f"can be read: {'; '.join(faults.values())}"
        )


def digest(tree: PyTree) -> str:
    """A digest of names, shapes, dtypes and bytes of all arrays: equal only for equal ones."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        # Arrays that other processes hold parts of cannot be read here: no digest includes them.
        array = np.asarray(leaf if _is_here(leaf) else 0)
        found.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _check_digests(items: dict[str, Any]) -> None:
    for name, expected in items["digests"].items():
        if name in items and digest(items[name]) != expected:
            raise ValueError(f"the arrays of {name} are not those that were saved")


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _is_here(leaf: Any) -> bool:
    return not isinstance(leaf, Array) or leaf.is_fully_addressable or leaf.is_fully_replicated


def _copy(leaf: Any) -> Any:
    return np.array(leaf) if _is_here(leaf) else jax.numpy.copy(leaf)


def _items(state: TrainState) -> dict[str, PyTree]:
    # Parameters are items of their own, as they are also read alone; orbax cannot store keys.
    progress = {
        "optimiser": state.optimiser,
        "key": jax.random.key_data(state.key),
        "step": state.step,
        "watch": state.watch._replace(best=None),
    }
    items = {"params": state.params, "progress": progress}
    if state.watch.best is not None:
        best = state.watch.best
        items |= {"best_params": best.params, "best_optimiser": best.optimiser}
    average = optax.tree_utils.tree_get(state.optimiser, "average")
    if average is not None:
        items |= {"average_params": average}
    return items


def _abstract(leaf: Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
