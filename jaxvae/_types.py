"""Aliases for the types that appear in every signature."""

from typing import Any, TypeAlias

from jax import Array
from jaxtyping import Float, Key

PyTree: TypeAlias = Any
PRNGKey: TypeAlias = Key[Array, ""]
Scalar: TypeAlias = Float[Array, ""]
Shape: TypeAlias = tuple[int, ...]
