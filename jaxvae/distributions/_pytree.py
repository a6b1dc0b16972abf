"""A distribution is a frozen dataclass of arrays that JAX sees as a pytree."""

import dataclasses
import numbers
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


def static() -> Any:
    """A field that is a setting rather than an array: part of the structure, not a leaf.

    It must be hashable, and ``jax.jit`` compiles anew for each value.
    """
    return dataclasses.field(metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def distribution(cls: type[T]) -> type[T]:
    """Freeze a class into a dataclass and register it as a pytree of its fields.

    Numbers and NumPy arrays get the type that JAX would give them, before the class's own
    ``__post_init__`` checks them. Unflattening runs neither: JAX fills pytrees with placeholders
    that are not arrays, and only what a user constructs needs checking.
    """
    check = getattr(cls, "__post_init__", lambda value: None)

    def take_and_check(value):
        for field in dataclasses.fields(value):
            if not field.metadata.get("static"):
                part = _as_parameter(cls.__name__, field, getattr(value, field.name))
                object.__setattr__(value, field.name, part)
        check(value)

    cls.__post_init__ = take_and_check  # pyright: ignore[reportAttributeAccessIssue]
    record = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(record)  # pyright: ignore[reportArgumentType]
    names = tuple(field.name for field in fields if not field.metadata.get("static"))
    settings = tuple(field.name for field in fields if field.metadata.get("static"))

    def static_values(value):
        return tuple(getattr(value, name) for name in settings)

    def flatten_with_keys(value):
        children = [(jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in names]
        return children, static_values(value)

    def flatten(value):
        return [getattr(value, name) for name in names], static_values(value)

    def unflatten(values, children):
        value = object.__new__(record)
        for name, part in zip(settings + names, (*values, *children), strict=True):
            object.__setattr__(value, name, part)
        return value

    jax.tree_util.register_pytree_with_keys(record, flatten_with_keys, unflatten, flatten)
    return record


def _as_parameter(owner: str, field: dataclasses.Field, part: Any) -> Any:
    """A number or an array in JAX's own precision; anything else (a distribution) as it is."""
    if not isinstance(part, numbers.Number | np.ndarray | np.generic | jax.Array):
        return part
    types = getattr(field.type, "dtypes", ())
    if isinstance(part, numbers.Integral) and "float32" in types:
        part = float(part)
    if not isinstance(part, jax.Array):
        # NumPy still, which a support that is read before tracing may depend on.
        array = np.asarray(part)
        part = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    if "float32" in types and not jnp.issubdtype(part.dtype, jnp.inexact):
        raise ValueError(
            f"{owner} expected {field.name} as floating-point numbers, got {part.dtype}; "
            "use .astype(float)"
        )
    return part
