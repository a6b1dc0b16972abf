"""A distribution is a frozen dataclass of arrays that JAX sees as a pytree."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


def static() -> Any:
    """A field that is a setting and no array: it belongs to the structure, not to the leaves.

    It must be hashable; another value is another program under ``jax.jit``.
    """
    return dataclasses.field(metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def distribution(cls: type[T]) -> type[T]:
    """Freeze a class into a dataclass and register it as a pytree of its fields.

    Unflattening does not run ``__post_init__``: JAX fills pytrees with placeholders that are not
    arrays, and the checks belong to construction by a person.
    """
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
