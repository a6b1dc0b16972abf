"""Checkpoints of a training state, by orbax: written asynchronously and atomically."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxvae._types import PyTree
from jaxvae.training.state import TrainState


class Checkpoints:
    """The checkpoints of one run; use it as a context manager, which waits for the last write.

    Args:
        directory: created if needed.
        keep: number of newest checkpoints that stay.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2):
        # Imported late: a second that a notebook which saves nothing need not spend.
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
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint, if there is one."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Write a state unless its step is already there; training may go on meanwhile."""
        step = int(state.step)
        if step != self.latest_step:
            # Copied, because training goes on in the same buffers while orbax writes.
            items = jax.tree.map(np.array, _items(state))
            saved = {name: self._ocp.args.StandardSave(tree) for name, tree in items.items()}
            self._manager.save(step, args=self._ocp.args.Composite(**saved))

    def restore(self, like: TrainState) -> TrainState:
        """The newest state.

        Args:
            like: a state of the same structure, shapes and dtypes, real or abstract.

        Raises:
            ValueError: if there is no checkpoint, or it holds something else.
        """
        items = self._restore(_items(like))
        progress = items["progress"]
        key = jax.random.wrap_key_data(progress["key"], impl=jax.random.key_impl(like.key))
        return TrainState(items["params"], progress["optimiser"], key, progress["step"])

    def restore_params(self, like: PyTree) -> PyTree:
        """The newest parameters alone."""
        return self._restore({"params": like})["params"]

    def _restore(self, like: dict[str, PyTree]) -> dict[str, Any]:
        step = self.latest_step
        if step is None:
            raise ValueError(
                f"expected a checkpoint in {self._manager.directory}, found none; "
                "train first, or name another run"
            )
        wanted = {
            name: self._ocp.args.StandardRestore(jax.tree.map(_abstract, tree))
            for name, tree in like.items()
        }
        return dict(self._manager.restore(step, args=self._ocp.args.Composite(**wanted)).items())


def _items(state: TrainState) -> dict[str, PyTree]:
    # The parameters apart, as they are also read alone; keys as plain arrays, for orbax.
    progress = {
        "optimiser": state.optimiser,
        "key": jax.random.key_data(state.key),
        "step": state.step,
    }
    return {"params": state.params, "progress": progress}


def _abstract(leaf: Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
