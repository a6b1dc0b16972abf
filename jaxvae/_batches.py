"""A function of a batch, taken through more rows than fit into memory at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxvae import _check
from jaxvae._types import PyTree


def in_batches(
    function: Callable[..., PyTree], arguments: tuple[PyTree, ...], batch_size: int | None
) -> PyTree:
    """Apply a function of a batch to ``batch_size`` rows at a time, the last ones together.

    Args:
        function: of pytrees with rows along the first axis, to such.
        arguments: all rows.
        batch_size: None takes all rows at once.

    Raises:
        ValueError: if the arguments differ in their number of rows or there are none, or the batch
            size is not positive.
    """
    size = _check.examples("a function of examples", arguments)
    _check.positive("the number of examples", size)
    if batch_size is not None:
        _check.positive("batch_size", batch_size)
    if batch_size is None or size <= batch_size:
        return function(*arguments)
    whole = size - size % batch_size
    batches = jax.tree.map(lambda x: x[:whole].reshape(-1, batch_size, *x.shape[1:]), arguments)
    results = lax.map(lambda rows: function(*rows), batches)
    results = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), results)
    if whole == size:
        return results
    rest = function(*jax.tree.map(lambda x: x[whole:], arguments))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), results, rest)
