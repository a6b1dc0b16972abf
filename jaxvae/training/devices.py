"""Several devices: the rows of a batch shared out, parameters on all, members apart if wanted."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.extend.core import jaxpr_as_fun
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxvae import _run_time
from jaxvae._types import PyTree
from jaxvae.training.rows import Block, Resident
from jaxvae.training.state import TrainState


def device_mesh(*, members: int = 1, devices: int | None = None) -> Mesh:
    """Devices of all processes, for ``fit``'s ``mesh``.

    Args:
        members: over how many groups of devices the members of a run are shared out; the batch of
            each member is shared out over the devices of its group.
        devices: how many, all by default. A CPU counts as one, unless JAX is told otherwise before
            its first use: ``jax.config.update("jax_num_cpu_devices", 8)``.

    Raises:
        ValueError: if the devices do not form so many equal groups.
    """
    count = jax.device_count() if devices is None else devices
    if members < 1 or count % members or count > jax.device_count():
        raise ValueError(
            f"members expected a divisor of the {min(count, jax.device_count())} devices, "
            f"got {members}"
        )
    return jax.make_mesh(
        (members, count // members),
        ("members", "data"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[:count],
    )


class Layout:
    """Where the arrays of a run are.

    Args:
        mesh: of ``device_mesh``, or None for the default device.
        batch_size: rows per step.
        count: number of members, or None.

    Raises:
        ValueError: if rows or members cannot be shared out evenly.
    """

    def __init__(self, mesh: Mesh | AbstractMesh | None, batch_size: int, count: int | None):
        self._mesh, self._batch_size = mesh, batch_size
        self._alone = mesh is None or mesh.size == 1
        self._of_members = P() if count is None else P("members")
        if mesh is None:
            return
        if set(mesh.axis_names) != {"members", "data"}:
            raise ValueError(
                f"mesh expected the axes members and data, got {mesh.axis_names}; "
                "use jaxvae.training.device_mesh"
            )
        for name, number, axis in (
            ("batch_size", batch_size, "data"),
            ("the number of members", count or 1, "members"),
        ):
            if number % mesh.shape[axis]:
                raise ValueError(
                    f"{name} expected a multiple of the {mesh.shape[axis]} devices along the "
                    f"mesh's axis {axis}, got {number}"
                )

    def over_devices(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Each device runs a function of members on its own ones, with its share of every batch.

        Args:
            function: of state, hyperparameters, feed and what is shared, to a state and a report.
        """
        if self._alone:
            return function

        @wraps(function)
        def run(*arguments):
            member = self._of_members
            state, _, feed, *shared = arguments
            rows = Block(P(), P(None, "data")) if isinstance(feed, Block) else P()  # pyright: ignore[reportArgumentType]
            states = jax.tree.map(lambda _: member, state)._replace(step=P())
            specs = (states, member, rows, *(P() for _ in shared))
            return jax.shard_map(
                self._traced(function, arguments, specs),
                mesh=self._mesh,
                in_specs=specs,
                out_specs=(states, member),
                check_vma=False,
            )(*arguments)

        return run

    def _traced(self, function: Callable[..., Any], arguments: Any, specs: Any) -> Callable:
        """The function of a device, traced apart from the mesh.

        Solvers compare the types of what goes round in their loops, and of two numbers one may know
        of the mesh and the other not.
        """
        assert self._mesh
        axes = dict(self._mesh.shape)

        def shrunk(spec, tree):
            def of_leaf(x):
                split = (*spec, *(None,) * (x.ndim - len(spec)))
                shape = [n // axes.get(name, 1) for n, name in zip(x.shape, split, strict=True)]
                return jax.ShapeDtypeStruct(tuple(shape), x.dtype)

            return jax.tree.map(of_leaf, tree)

        shapes = jax.tree.map(shrunk, specs, arguments, is_leaf=lambda x: isinstance(x, P))
        with _run_time.as_nan(), jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
            make = jax.make_jaxpr(function, axis_env=[*axes.items()], return_shape=True)
            traced, result = make(*shapes)

        def of_device(*local):
            leaves = jaxpr_as_fun(traced)(*jax.tree.leaves(local))
            return jax.tree.unflatten(jax.tree.structure(result), leaves)

        return of_device

    def own(self, rows: PyTree) -> PyTree:
        """This device's share of what has an entry for each row of a batch."""
        if self._alone:
            return rows
        size = self._batch_size // lax.axis_size("data")
        first = lax.axis_index("data") * size
        return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, size), rows)

    def mean(self, tree: PyTree) -> PyTree:
        """The mean over the devices that share a batch."""
        return tree if self._alone else lax.pmean(tree, "data")

    @property
    def shared(self) -> NamedSharding | None:
        """The sharding of what every device needs."""
        return None if self._mesh is None else NamedSharding(self._mesh, P())

    def state_sharding(self, state: TrainState) -> Any:
        """A sharding for every leaf of a state; None leaves it to jit."""
        if self._mesh is None:
            return None
        spec = NamedSharding(self._mesh, self._of_members)
        return jax.tree.map(lambda _: spec, state)._replace(step=self.shared)

    def put_state(self, state: TrainState) -> TrainState:
        """A copy of the state where it belongs; the given one survives the donation of the copy."""
        if self._mesh is None:
            # A copy of what lay on several devices would be trained on all of them.
            return jax.tree.map(jax.numpy.copy, on_one_device(state))
        return jax.tree.map(_put, state, self.state_sharding(state))

    def put_members(self, tree: PyTree) -> PyTree:
        """Arrays with a leading axis of members, if the run has one."""
        if self._mesh is None:
            return jax.device_put(tree)
        sharding = NamedSharding(self._mesh, self._of_members)
        return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)

    def put_shared(self, tree: PyTree) -> PyTree:
        """Arrays that every device needs: all rows, held-out rows, numbers."""
        sharding = self.shared
        if sharding is None:
            return jax.device_put(tree)
        return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)

    def put_rows(self, rows: PyTree) -> Resident:
        """All rows of the data."""
        return Resident(self.put_shared(rows))

    def put_block(self, first_step: int, batches: PyTree) -> Block:
        """A block of batches, of which this process has read its share of the rows."""
        first = self.put_shared(np.int32(first_step))
        if self._mesh is None:
            return Block(first, jax.device_put(batches))
        sharding = NamedSharding(self._mesh, P(None, "data"))
        return Block(
            first,
            jax.tree.map(
                lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), batches
            ),
        )


def on_one_device(tree: PyTree) -> PyTree:
    """What a mesh held, where any other computation takes it; unless other processes hold parts."""

    def moved(leaf: Any) -> Any:
        several = isinstance(leaf, jax.Array) and len(leaf.devices()) > 1
        if not several or not leaf.is_fully_addressable:
            return leaf
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                moved(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        # By way of the host, as the type of what is moved directly still names the mesh.
        return jax.numpy.array(jax.device_get(leaf))

    return jax.tree.map(moved, tree)


ONE_DEVICE = Layout(None, 1, None)


def agree(*values: int) -> tuple[int, ...]:
    """The values of the first process, in all of them: what depends on time must not differ."""
    if jax.process_count() == 1:
        return values
    agreed = multihost_utils.broadcast_one_to_all(np.asarray(values, np.int32))
    return tuple(int(value) for value in agreed)


def _put(leaf: Any, sharding: NamedSharding) -> Any:
    """A new array; ``device_put`` may share the given one's memory, and knows one process only."""
    if isinstance(leaf, jax.Array):
        if not leaf.is_fully_addressable:
            return jax.numpy.copy(leaf)
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = _put(jax.random.key_data(leaf), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.array(leaf)
    return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)
