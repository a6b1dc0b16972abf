"""Errors that only a run knows of: raised, or NaN where raising would leave others waiting."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from jaxvae._types import PyTree

_nan: ContextVar[bool] = ContextVar("nan", default=False)


@contextmanager
def as_nan() -> Iterator[None]:
    """What is traced in this context goes on with NaN instead of raising.

    Devices meet in every step, and one that raises does not come: the others would wait for it
    until XLA ends the process.
    """
    token = _nan.set(True)
    try:
        yield
    finally:
        _nan.reset(token)


def error_if(values: PyTree, wrong: Bool[Array, ""], message: str) -> PyTree:
    """The values; or, where something is wrong, an error or NaN."""
    return one_of_errors_if(values, wrong, jnp.zeros((), jnp.int32), [message])


def one_of_errors_if(
    values: PyTree, wrong: Bool[Array, ""], index: Int[Array, ""], messages: Sequence[str]
) -> PyTree:
    """The values; or, where something is wrong, an error with one of the messages, or NaN.

    An error is one for all elements of a ``vmap``; NaN is only for those that are wrong, and for
    all gradients that pass them.
    """
    if not _nan.get():
        return eqx.branched_error_if(values, wrong, index, messages)
    # A product, as its derivative is NaN too.
    return jax.tree.map(lambda x: x * jnp.where(wrong, jnp.nan, 1.0).astype(x.dtype), values)
