"""Whether the numbers of a tree are finite, and a choice between two trees."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from jaxvae._types import PyTree


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of a tree is finite."""
    return _all(jnp.isfinite, tree)


def no_nan(tree: PyTree) -> Bool[Array, ""]:
    """Whether no number of a tree is NaN; infinite ones, as in an optimiser's state, are good."""
    return _all(lambda leaf: ~jnp.isnan(leaf), tree)


def _all(good: Callable[[Array], Array], tree: PyTree) -> Bool[Array, ""]:
    numbers = (x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact))
    return jnp.all(jnp.array([True, *(jnp.all(good(leaf)) for leaf in numbers)]))


def where(condition: Bool[Array, ""], first: Any, second: Any) -> Any:
    """``jnp.where`` on every leaf of two trees of one structure."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first, second)


def finite_groups(tree: PyTree) -> dict[str, Bool[Array, ""]]:
    """Whether all numbers are finite, for each top-level part of parameters by its name.

    For ``Params`` these are ``generative``, ``inference`` and ``auxiliary``.
    """
    parts: dict[str, list[Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path[:1], simple=True) if path else "the parameters"
        parts.setdefault(name, []).append(leaf)
    return {name: all_finite(part) for name, part in parts.items()}
