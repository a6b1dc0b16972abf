"""Errors that depend on values: raised at run time, or NaN where raising would block devices."""

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
    """Code traced in this context continues with NaN instead of raising an error.

    Devices synchronise in every step. If one of them raised an error, the others would wait for it
    until XLA ends the process.
    """
    token = _nan.set(True)
    try:
        yield
    finally:
        _nan.reset(token)


def error_if(values: PyTree, wrong: Bool[Array, ""], message: str) -> PyTree:
    """The values; an error, or NaN inside ``as_nan``, where something is wrong."""
    return one_of_errors_if(values, wrong, jnp.zeros((), jnp.int32), [message])


def one_of_errors_if(
    values: PyTree, wrong: Bool[Array, ""], index: Int[Array, ""], messages: Sequence[str]
) -> PyTree:
    """The values; an error with one of the messages, or NaN, where something is wrong.

    An error stops all elements of a ``vmap``. NaN is returned only for the elements that are wrong,
    and reaches every gradient that passes through them.
    """
    if not _nan.get():
        return eqx.branched_error_if(values, wrong, index, messages)
    # A product, as its derivative is NaN too.
    return jax.tree.map(lambda x: x * jnp.where(wrong, jnp.nan, 1.0).astype(x.dtype), values)
