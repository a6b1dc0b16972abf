"""Errors that only a run knows of: raised, or NaN where raising would leave others waiting."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import equinox as eqx
from jax import Array

from jaxvae._types import PyTree

_on_error: ContextVar[Literal["default", "nan"]] = ContextVar("on_error", default="default")


@contextmanager
def as_nan() -> Iterator[None]:
    """What is traced in this context goes on with NaN instead of raising.

    Devices meet in every step, and one that raises does not come: the others would wait for it
    until XLA ends the process.
    """
    token = _on_error.set("nan")
    try:
        yield
    finally:
        _on_error.reset(token)


def error_if(values: PyTree, wrong: Array, message: str) -> PyTree:
    """The values, or an error with a message."""
    return eqx.error_if(values, wrong, message, on_error=_on_error.get())


def one_of_errors_if(values: PyTree, wrong: Array, index: Array, messages: Sequence[str]) -> PyTree:
    """The values, or an error with one of the messages."""
    return eqx.branched_error_if(values, wrong, index, messages, on_error=_on_error.get())
