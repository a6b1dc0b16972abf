"""Distributions stacked along a leading axis, one for each category of a label."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae._types import PyTree, Shape
from jaxvae.distributions.discrete.categorical import Categorical


def check(owner: str, label: Categorical, components: Any) -> None:
    """Raise unless every array of the components has an axis of the label's categories in front."""
    if len(label.event_shape) != 1:
        raise ValueError(
            f"{owner} expected a label with logits of shape (K,), got {label.event_shape}; "
            "jax.vmap over further axes, or describe independent labels with Independent"
        )
    leading = (label.event_shape[0],)
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(components)]
    if any(shape[:1] != leading for shape in shapes):
        raise ValueError(
            f"{owner} expected components whose arrays have a leading axis of {leading[0]} "
            f"categories, got shapes {shapes}; build them with jax.vmap(Family)(arrays)"
        )


def event_shape(components: Any) -> Shape | tuple:
    """Shape of one event of one component."""
    return jax.tree.map(lambda leaf: leaf[0], components).event_shape


def contract(weights: Float[Array, "K"], stacked: PyTree) -> PyTree:
    r"""$\sum_k w_k a_k$ for every array; a category without weight may hold infinities.

    Only terms that would be $0 \cdot \infty$ are left out, so that the derivative with respect to
    a weight of zero is still $a_k$: a straight-through label depends on it. Integers and flags
    are those of the heaviest category.
    """

    def one(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf[jnp.argmax(weights)]
        column = weights.astype(leaf.dtype).reshape(-1, *(1,) * (leaf.ndim - 1))
        counted = jnp.where(jnp.isfinite(leaf) | (column != 0), leaf, 0.0)
        return jnp.sum(column * counted, axis=0)

    return jax.tree.map(one, stacked)
