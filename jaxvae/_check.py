"""Checks of static arguments, with messages that say what was expected, what came, what to do."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae._types import Shape


def same_shape(owner: str, **arrays: Array) -> None:
    """Raise unless all named arrays have one shape; nothing is broadcast behind the user's back."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{owner} expected parameters of one shape, got {listed}; "
            "use jax.numpy.broadcast_to to make them agree"
        )


def event_shape(owner: str, expected: Shape, got: Shape) -> None:
    """Raise unless an event has the shape of its distribution."""
    if tuple(got) != tuple(expected):
        is_batch = len(got) > len(expected)
        raise ValueError(
            f"{owner} expected one event of shape {tuple(expected)}, got {tuple(got)}; "
            + ("jax.vmap over any batch axis" if is_batch else "make the sizes agree")
        )


def of_type(name: str, value: Any, expected: type) -> None:
    """Raise unless a value is a record of the expected type, such as an ``Example``."""
    if not isinstance(value, expected):
        raise ValueError(f"{name} expected {expected.__name__}(...), got {type(value).__name__}")


def examples(owner: str, arrays: Any) -> int:
    """The number of examples; raise unless all arrays have as many along the first axis."""
    counts = sorted({leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(arrays)})
    if len(counts) != 1:
        raise ValueError(
            f"{owner} expected one number of examples along the first axis of all arrays, got "
            + (" and ".join(map(str, counts)) or "no array")
        )
    return counts[0]


def functions(owner: str, **values: Any) -> None:
    """Raise unless all named arguments are functions, not the names of functions."""
    for name, value in values.items():
        if not callable(value):
            raise ValueError(
                f"{owner} expected a function as {name}, got {value!r}; functions of the library "
                "are passed themselves, without quotes"
            )


def floating(name: str, array: Array) -> None:
    """Raise unless an array is of a floating-point type, which integers cannot stand in for."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"{name} expected floating-point numbers, got {array.dtype}; use .astype(float)"
        )


def positive(name: str, value: Any) -> None:
    """Raise unless a setting is an integer and at least one."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} expected a positive integer, got {value!r}")


def not_negative(name: str, value: Any) -> None:
    """Raise unless a setting is an integer and at least zero."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} expected an integer from 0 on, got {value!r}; 0 means none")
