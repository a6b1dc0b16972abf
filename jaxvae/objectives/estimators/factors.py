"""One estimator for each factor of a latent."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import Joint, Product
from jaxvae.objectives.estimators.draws import Draws, GradientEstimator, as_it_is


def by_factor(*estimators: GradientEstimator) -> GradientEstimator:
    r"""Each factor of the latent with its own estimator.

    For a ``Product`` they are taken in the order of its factors, for a ``Joint`` the first
    is the label's and the second that of the component given the label. Alternatives that one
    factor enumerates are combined with every draw of the others.

    Args:
        *estimators: one for each factor; ``by_factor`` again for a factor with parts.

    Returns:
        An estimator of the whole latent.

    Raises:
        ValueError: when called, if the latent has another number of factors, or none.

    Example:
        >>> from jaxvae import objectives
        >>> gradient = objectives.by_factor(objectives.enumerated, objectives.pathwise)
    """

    def estimator(
        q: Any, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
    ) -> Draws:
        factors = _factors(q)
        if len(factors) != len(estimators):
            raise ValueError(
                f"by_factor expected an estimator for each of the {len(factors)} factors of "
                f"{type(q).__name__}, got {len(estimators)}"
            )
        options = {"num_samples": num_samples, "temperature": temperature}
        if isinstance(q, Joint):
            return _joint(q, *estimators, key=key, **options)
        keys = jax.random.split(key, len(factors))
        parts = [
            estimate(factor, key=key, **options)
            for estimate, factor, key in zip(estimators, factors, keys, strict=True)
        ]
        return _product(parts, num_samples)

    return estimator


def _factors(q: Any) -> tuple[Any, ...]:
    if isinstance(q, Joint):
        return (q.label, q.components)
    if isinstance(q, Product):
        return tuple(q.factors)
    raise ValueError(
        f"by_factor expected a Product or a Joint, got {type(q).__name__}; pass the "
        "estimator itself"
    )


def _total(terms: tuple[Array | None, ...]) -> Array | None:
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None


def _all_or_none(parts: list[Draws]) -> bool:
    """Whether the draws that carry gradients are doubly reparameterised."""
    with_gradients = {part.is_doubly_reparameterised for part in parts if part.has_gradient}
    if len(with_gradients) > 1:
        raise ValueError(
            "by_factor expected doubly_reparameterised for every factor that carries a gradient, "
            "or for none: the importance weights belong to all of them"
        )
    return True in with_gradients


def _product(parts: list[Draws], rows: int) -> Draws:
    """Independent factors: every combination of their alternatives, draw by draw."""
    sizes = [part.weight.shape[1] for part in parts]

    def spread(number: int, leaf: Array) -> Array:
        """(L or 1, M_i, ...) to (L, M_1 ... M_n, ...)."""
        event = leaf.shape[2:]
        own = [size if i == number else 1 for i, size in enumerate(sizes)]
        leaf = jnp.broadcast_to(leaf.reshape(leaf.shape[0], *own, *event), (rows, *sizes, *event))
        return leaf.reshape(rows, -1, *event)

    def every(field: str) -> tuple[Any, ...]:
        return tuple(
            jax.tree.map(lambda leaf, i=i: spread(i, leaf), getattr(part, field))
            for i, part in enumerate(parts)
        )

    def relax_prior(p: Any) -> Any:
        if not isinstance(p, Product) or len(p.factors) != len(parts):
            raise ValueError(
                f"a relaxed factor expected a prior that is a Product of {len(parts)} "
                f"factors, got {type(p).__name__}; use a closed-form KL"
            )
        pairs = zip(parts, p.factors, strict=True)
        return Product(tuple(part.relax_prior(factor) for part, factor in pairs))

    is_relaxed = any(part.is_relaxed for part in parts)
    return Draws(
        z=every("z"),
        log_q=jnp.sum(jnp.stack(every("log_q")), axis=0),
        score=_total(every("score")),
        weight=jnp.prod(jnp.stack(every("weight")), axis=0),
        hard=every("hard"),
        is_relaxed=is_relaxed,
        relax_prior=relax_prior if is_relaxed else as_it_is,
        has_gradient=any(part.has_gradient for part in parts),
        is_path_only=any(part.is_path_only for part in parts),
        is_doubly_reparameterised=_all_or_none(parts),
    )


def _joint(
    q: Joint,
    of_label: GradientEstimator,
    of_component: GradientEstimator,
    *,
    key: PRNGKey,
    num_samples: int,
    temperature: float | Scalar,
) -> Draws:
    """The label first, then the component that it names, drawn once for each alternative."""
    label_key, component_key = jax.random.split(key)
    label = of_label(q.label, key=label_key, num_samples=num_samples, temperature=temperature)
    # An enumerated label is the same for all draws; its components are not.
    shape = (num_samples, label.weight.shape[1])
    label = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_samples, *leaf.shape[1:])), label)
    keys = jax.random.split(component_key, shape)

    def component(one_hot: Array, key: PRNGKey) -> Draws:
        return of_component(q.given(one_hot), key=key, num_samples=1, temperature=temperature)

    drawn = jax.vmap(jax.vmap(component))(label.z, keys)
    hard = drawn.hard
    if label.is_relaxed:  # the same noise, at the label that was rounded
        hard = jax.vmap(jax.vmap(component))(label.hard, keys).hard

    def flat(leaf: Array) -> Array:
        """(L, M, 1, M', ...) to (L, M M', ...)."""
        return leaf.reshape(num_samples, -1, *leaf.shape[4:])

    def alike(leaf: Array) -> Array:
        """(L, M, ...) to (L, M M', ...)."""
        return jnp.repeat(leaf, drawn.weight.shape[3], axis=1)

    def relax_prior(p: Any) -> Any:
        if not isinstance(p, Joint):
            raise ValueError(
                f"a relaxed factor expected a prior that is a Joint, got {type(p).__name__}; use "
                "a closed-form KL"
            )
        return dataclasses.replace(
            p, label=label.relax_prior(p.label), components=drawn.relax_prior(p.components)
        )

    is_relaxed = label.is_relaxed or drawn.is_relaxed
    return Draws(
        z=(alike(label.z), jax.tree.map(flat, drawn.z)),
        log_q=alike(label.log_q) + flat(drawn.log_q),
        score=_total((jax.tree.map(alike, label.score), jax.tree.map(flat, drawn.score))),
        weight=alike(label.weight) * flat(drawn.weight),
        hard=(alike(label.hard), jax.tree.map(flat, hard)),
        is_relaxed=is_relaxed,
        relax_prior=relax_prior if is_relaxed else as_it_is,
        has_gradient=label.has_gradient or drawn.has_gradient,
        is_path_only=label.is_path_only or drawn.is_path_only,
        is_doubly_reparameterised=_all_or_none([label, drawn]),
    )
