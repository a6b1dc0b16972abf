"""A distribution is a frozen dataclass of arrays that JAX sees as a pytree."""

import dataclasses
from typing import TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def distribution(cls: type[T]) -> type[T]:
    """Freeze a class into a dataclass and register it as a pytree of its fields.

    Unflattening does not run ``__post_init__``: JAX fills pytrees with placeholders that are not
    arrays, and the checks belong to construction by a person.
    """
    record = dataclasses.dataclass(frozen=True, eq=False)(cls)
    names = tuple(field.name for field in dataclasses.fields(record))  # pyright: ignore[reportArgumentType]

    def flatten_with_keys(value):
        return [(jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in names], None

    def flatten(value):
        return [getattr(value, name) for name in names], None

    def unflatten(_, children):
        value = object.__new__(record)
        for name, child in zip(names, children, strict=True):
            object.__setattr__(value, name, child)
        return value

    jax.tree_util.register_pytree_with_keys(record, flatten_with_keys, unflatten, flatten)
    return record
