"""Members and devices: the seeds of a run side by side, their batches shared out over devices."""

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
from jaxvae.training.state import TrainState

BATCH_ROWS = P(None, "data")
"""How arrays with axes (step, row of the batch) are split: each device has a share of the rows."""
_MEMBER_AXES: Any = TrainState(params=0, optimiser=0, key=0, step=None, watch=0)  # pyright: ignore[reportArgumentType]


def vectorised(chunk: Callable) -> Callable:
    """Train the members side by side: every operation gets an axis of members."""

    def run(state, hyperparameters, *shared):
        axes = (_MEMBER_AXES, 0, *(None for _ in shared))
        mapped = jax.vmap(chunk, in_axes=axes, out_axes=(_MEMBER_AXES, 0))
        return mapped(state, hyperparameters, *shared)

    return run


def one_by_one(chunk: Callable) -> Callable:
    """Train the members one after another in one compiled loop, for networks slow under ``vmap``.

    On a CPU these are convolutions above all: a ``vmap`` over their weights turns one large matrix
    product into many small ones.
    """

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
    """The state of one member; the index None means a state without an axis of members."""
    if index is None:
        return state
    without: PyTree = state._replace(step=None)  # pyright: ignore[reportArgumentType]
    return jax.tree.map(lambda leaf: leaf[index], without)._replace(step=state.step)


def put_member(state: TrainState, index: int | None, member: TrainState) -> TrainState:
    """The state with one member replaced; the step stays, unless there is no axis of members."""
    if index is None:
        return member
    step = state.step
    leaves, other = (s._replace(step=None) for s in (state, member))
    return jax.tree.map(lambda a, b: a.at[index].set(b), leaves, other)._replace(step=step)


def device_mesh(*, members: int = 1, devices: int | None = None) -> Mesh:
    """Devices of all processes, for ``fit``'s ``mesh``.

    Args:
        members: number of groups of devices that the members of a run are shared out over; the
            batch of each member is shared out over the devices of its group.
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
    """Which device holds and computes what.

    Args:
        mesh: of ``device_mesh``, or None for the default device.
        batch_size: rows per step.
        count: number of members, or None for a run without an axis of members.
        members: ``vectorised`` or ``one_by_one``.

    Raises:
        ValueError: if rows or members cannot be shared out evenly.
    """

    def __init__(
        self,
        mesh: Mesh | AbstractMesh | None,
        batch_size: int,
        count: int | None,
        members: Callable[[Callable], Callable] = vectorised,
    ):
        self._mesh, self._batch_size = mesh, batch_size
        self._alone = mesh is None or mesh.size == 1
        self._members = None if count is None else members
        self._member_spec = P() if count is None else P("members")
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

    def spread(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turn a function of one member into one of all members on all devices.

        Each device runs it for its own members, with its share of every batch.

        Args:
            function: of state, hyperparameters, batches and whatever all members share, to a state
                and a report.
        """
        of_members = function if self._members is None else self._members(function)
        if self._alone:
            return of_members

        @wraps(of_members)
        def run(*arguments):
            member = self._member_spec
            state, _, batches, *shared = arguments
            states = jax.tree.map(lambda _: member, state)._replace(step=P())
            specs = (states, member, batches.specs, *(P() for _ in shared))
            return jax.shard_map(
                self._traced(of_members, arguments, specs),
                mesh=self._mesh,
                in_specs=specs,
                out_specs=(states, member),
                check_vma=False,
            )(*arguments)

        return run

    def _traced(self, function: Callable[..., Any], arguments: Any, specs: Any) -> Callable:
        """What a device runs of the function, traced outside the mesh.

        Within a mesh the type of an array says how it varies over the devices. The loops of solvers
        demand that what they carry keeps its type, which a constant and a result computed from a
        device's rows do not share.
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
        """This device's share of arrays that have an entry for each row of a batch."""
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
        """The sharding of arrays that every device holds whole."""
        return None if self._mesh is None else NamedSharding(self._mesh, P())

    def state_sharding(self, state: TrainState) -> Any:
        """A sharding for every leaf of a state; None leaves it to jit."""
        if self._mesh is None:
            return None
        spec = NamedSharding(self._mesh, self._member_spec)
        return jax.tree.map(lambda _: spec, state)._replace(step=self.shared)

    def put_state(self, state: TrainState) -> TrainState:
        """A copy of the state on its devices, so that donating the copy leaves the given one."""
        if self._mesh is None:
            # A copy of an array that lies on several devices would be trained on all of them.
            return jax.tree.map(jax.numpy.copy, on_one_device(state))
        return jax.tree.map(_put, state, self.state_sharding(state))

    def put_members(self, tree: PyTree) -> PyTree:
        """Arrays with a leading axis of members, if the run has one."""
        if self._mesh is None:
            return jax.device_put(tree)
        sharding = NamedSharding(self._mesh, self._member_spec)
        return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)

    def put_shared(self, tree: PyTree) -> PyTree:
        """Arrays that every device needs whole: all rows, held-out rows, numbers."""
        sharding = self.shared
        if sharding is None:
            return jax.device_put(tree)
        return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)

    def put_batches(self, batches: PyTree) -> PyTree:
        """Arrays with axes (step, row of the batch), of which this process has read its share."""
        if self._mesh is None:
            return jax.device_put(batches)
        sharding = NamedSharding(self._mesh, BATCH_ROWS)
        return jax.tree.map(
            lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), batches
        )


ONE_DEVICE = Layout(None, 1, None)


def on_one_device(tree: PyTree) -> PyTree:
    """Arrays of a mesh, moved to where any computation takes them.

    Those that lie in part with other processes stay where they are.
    """

    def moved(leaf: Any) -> Any:
        several = isinstance(leaf, jax.Array) and len(leaf.devices()) > 1
        if not several or not leaf.is_fully_addressable:
            return leaf
        # By way of the host: the type of an array that is moved directly still names the mesh.
        return _through_numbers(lambda numbers: jax.numpy.array(jax.device_get(numbers)), leaf)

    return jax.tree.map(moved, tree)


def agree(*values: int) -> tuple[int, ...]:
    """The values of the first process, in every process.

    Decisions that depend on time would otherwise differ between processes.
    """
    if jax.process_count() == 1:
        return values
    agreed = multihost_utils.broadcast_one_to_all(np.asarray(values, np.int32))
    return tuple(int(value) for value in agreed)


def _put(leaf: Any, sharding: NamedSharding) -> Any:
    """A new array with a sharding, also one over several processes.

    ``device_put`` may share the memory of the given array, and knows one process only.
    """

    def fresh(numbers: Any) -> Any:
        host = np.array(numbers)
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.numpy.copy(leaf)
    return _through_numbers(fresh, leaf)


def _through_numbers(function: Callable[[Any], Any], leaf: Any) -> Any:
    """A function of an array; of a key, whose numbers NumPy cannot see, a function of these."""
    if not isinstance(leaf, jax.Array) or not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return function(leaf)
    numbers = function(jax.random.key_data(leaf))
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
