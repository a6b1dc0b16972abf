"""Batches of distributions whose shared parameters, such as a flow's weights, are held once.

A class names its fields that are the same for every example in a class variable ``shared``; all
others get a leading axis when ``jax.vmap`` makes a batch.
"""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae._batches import in_batches
from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions._pytree import distribution

T = TypeVar("T")


def batch_axes(distribution: T) -> T:
    """The axes of a batch, for ``in_axes`` and ``out_axes`` of ``jax.vmap``.

    Args:
        distribution: of one event or a batch of them, or any pytree that holds such.

    Returns:
        The same structure with None for what all events share and 0 for everything else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, batch_axes
        >>> codes = Normal(jnp.ones((5, 2)), jnp.zeros((5, 2)))
        >>> jax.vmap(lambda q, z: q.log_prob(z), (batch_axes(codes), 0))(codes, codes.loc).shape
        (5,)
    """
    shared = getattr(type(distribution), "shared", ())
    children, structure = jax.tree_util.tree_flatten_with_path(
        distribution, is_leaf=lambda node: node is not distribution
    )
    if children and not children[0][0]:
        return cast(T, 0)

    def axes(path, child):
        if getattr(path[0], "name", None) in shared:
            return jax.tree.map(lambda _: None, child)
        return batch_axes(child)

    return jax.tree.unflatten(structure, [axes(*child) for child in children])


def batched(
    function: Callable[..., T],
    arguments: tuple[PyTree, ...],
    *,
    batch_size: int | None = None,
    axis_name: Hashable | None = None,
) -> T:
    """``jax.vmap`` for functions that return a distribution: shared parameters come out once.

    Args:
        function: of one row of each argument.
        arguments: pytrees of arrays with a leading axis.
        batch_size: rows at a time, in memory that does not grow beyond theirs and the result's;
            None takes all at once.
        axis_name: of the ``vmap``.

    Returns:
        A batch of distributions, whose axes are ``batch_axes`` of itself.

    Raises:
        ValueError: if a parameter that its class calls shared depends on the row.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, batched
        >>> batched(lambda loc: Normal(loc, loc), (jnp.ones((5, 2)),)).loc.shape
        (5, 2)
    """

    def named(function, axes=0):
        return jax.vmap(function, out_axes=axes, axis_name=axis_name)

    def of_first():
        rows = jax.tree.map(lambda leaf: leaf[:1], arguments)
        return jax.tree.map(lambda leaf: leaf[0], named(function)(*rows))

    one = jax.eval_shape(of_first)
    axes = batch_axes(one)
    at_once = named(function, axes)
    if batch_size is None:
        return at_once(*arguments)
    # Tracing alone finds a shared parameter that depends on the row; it would be lost below.
    jax.eval_shape(at_once, *arguments)

    def own(*row):
        # Arrays without elements cannot be put together.
        present = jax.tree.map(lambda leaf: leaf if leaf.size else None, function(*row))
        return _where(axes, present, None)

    rows = in_batches(named(own), arguments, batch_size)
    number = len(jax.tree.leaves(arguments)[0])

    def restored(struct, leaf):
        return leaf if struct.size else jnp.zeros((number, *struct.shape), struct.dtype)

    return _where(axes, jax.tree.map(restored, one, rows), of_first())


@distribution
class Batch:
    """The distributions of many examples: every property and method has an axis for these.

    Args:
        stacked: a batch as ``batched`` makes it, whose arrays have a leading axis but for those
            that all examples share.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Batch, Normal
        >>> codes = Batch(Normal(jnp.arange(5.0), jnp.zeros(5)))
        >>> len(codes), codes.mean.shape, float(codes[3].mean)
        (5, (5,), 3.0)
    """

    stacked: Any

    def __len__(self) -> int:
        axes = jax.tree.leaves(batch_axes(self.stacked), is_leaf=lambda axis: axis is None)
        leaves = jax.tree.leaves(self.stacked)
        return next(x.shape[0] for axis, x in zip(axes, leaves, strict=True) if axis == 0)

    def __getitem__(self, index: Any) -> Any:
        """One distribution, or a batch of some."""
        taken = take(self.stacked, index)
        return taken if jnp.ndim(index) == 0 and not isinstance(index, slice) else Batch(taken)

    @property
    def mean(self) -> PyTree:
        """The mean of each; a tree of arrays where an event has several parts."""
        return self.map(lambda one: one.mean)

    @property
    def variance(self) -> PyTree:
        """The variance of each coordinate of each."""
        return self.map(lambda one: one.variance)

    @property
    def mode(self) -> PyTree:
        """The mode of each."""
        return self.map(lambda one: one.mode)

    def entropy(self) -> Float[Array, " batch"]:
        """The entropy of each, in nats."""
        return self.map(lambda one: one.entropy())

    def sample(self, key: PRNGKey) -> PyTree:
        """One draw of each."""
        return self.map(lambda one, key: one.sample(key), jax.random.split(key, len(self)))

    def log_prob(self, values: PyTree) -> Float[Array, " batch"]:
        """The log-density of each at its own value, in nats."""
        return self.map(lambda one, value: one.log_prob(value), values)

    def map(self, function: Callable[..., Any], *arrays: PyTree) -> Any:
        """A function of one distribution, and of one row of each array, for all of them."""
        axes = (batch_axes(self.stacked), *(0 for _ in arrays))
        return jax.vmap(function, in_axes=axes)(self.stacked, *arrays)


def take(distributions: T, index: int | slice | Array | np.ndarray) -> T:
    """One distribution of a batch, or those that an array of indices names, as a batch.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, take
        >>> float(take(Normal(jnp.arange(5.0), jnp.zeros(5)), 3).loc)
        3.0
    """
    axes = batch_axes(distributions)
    rows = jax.tree.map(lambda leaf: leaf[index], _where(axes, distributions, None))
    return _where(axes, rows, distributions)


def _where(axes: PyTree, rows: PyTree, shared: PyTree) -> PyTree:
    """The rows' own leaves with the shared ones of another tree, or without them."""

    def choose(axis, row, common):
        return common if axis is None else row

    absent = jax.tree.map(lambda _: None, axes) if shared is None else shared
    return jax.tree.map(choose, axes, rows, absent, is_leaf=lambda node: node is None)
