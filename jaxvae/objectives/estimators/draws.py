"""Draws of a latent variable, and what a gradient estimator does to their gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions import Distribution, moving_support


def as_it_is(p: Distribution) -> Distribution:
    """The prior of draws that are not relaxed."""
    return p


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("z", "log_q", "weight", "hard", "base", "score"),
    meta_fields=(
        "is_relaxed",
        "relax_prior",
        "has_gradient",
        "is_path_only",
        "is_doubly_reparameterised",
    ),
)
@dataclass(frozen=True)
class Draws:
    r"""L independent draws of one latent event, each of M weighted alternatives.

    Sampling has M = 1; enumeration has the alternatives that it sums over. The expectation of f
    under q is estimated by $\frac1L\sum_{lm} w_{lm} f(z_{lm})$.

    Attributes:
        z: events with axes (L, M) in front; the gradients that they carry are the estimator's.
        log_q: $\log q(z)$ of what z was drawn from, as the estimator differentiates it.
        base: for a flow drawn along its path, what z was made of; None elsewhere.
        score: the part of $\log q(z)$ that belongs to what was drawn without a gradient, None if
            everything has one.
        weight: $w_{lm}$, which add up to one over m.
        hard: events in the support of q, where z is relaxed; z itself elsewhere.
        is_relaxed: whether z lies outside the support of q.
        relax_prior: the prior that goes with ``log_q``, from the prior of the model.
        has_gradient: whether some part of z or of its weight was drawn with a gradient.
        is_path_only: whether ``log_q`` leaves out its direct dependence on the parameters.
        is_doubly_reparameterised: whether an importance-weighted bound rescales the gradient of z.
    """

    z: PyTree
    log_q: Float[Array, "*batch L M"]
    weight: Float[Array, "*batch L M"]
    hard: PyTree
    base: PyTree = None
    score: Float[Array, "*batch L M"] | None = None
    is_relaxed: bool = False
    relax_prior: Callable[[Any], Any] = as_it_is
    has_gradient: bool = True
    is_path_only: bool = False
    is_doubly_reparameterised: bool = False

    def average(self, values: Float[Array, "*batch L M"]) -> Scalar:
        r"""$\frac1L\sum_{lm} w_{lm} v_{lm}$."""
        return jnp.mean(self.row_sums(values))

    def row_sums(self, values: Float[Array, "L M"]) -> Float[Array, " L"]:
        r"""$\sum_m w_{lm} v_{lm}$, of each draw."""
        return jnp.sum(self.weight * values, axis=1)

    def log_q_without_score(self) -> Float[Array, "L M"]:
        r"""``log_q`` less the derivative of ``score``, which has mean zero in an expectation."""
        if self.score is None:
            return self.log_q
        return self.log_q - self.score + lax.stop_gradient(self.score)


@runtime_checkable
class GradientEstimator(Protocol):
    """``(q, *, key, num_samples, temperature) -> Draws``; passing one is the choice."""

    def __call__(
        self, q: Any, *, key: PRNGKey, num_samples: int, temperature: float | Scalar
    ) -> Draws:
        """Draw from q."""
        ...


def repeat(function: Callable[[PRNGKey], Any], key: PRNGKey, num_samples: int) -> Any:
    """``function`` of L keys, with axes (L, 1) in front."""
    if num_samples == 1:  # the same, without a map in the way of the compiler
        return jax.tree.map(lambda leaf: leaf[None, None], function(key))
    results = jax.vmap(function)(jax.random.split(key, num_samples))
    return jax.tree.map(lambda leaf: leaf[:, None], results)


def each(function: Callable, *stacked: PyTree) -> Any:
    """``function`` of every draw, for arguments with axes (L, M) in front."""
    rows, alternatives = jax.tree.leaves(stacked)[0].shape[:2]
    if rows * alternatives == 1:
        single = function(*jax.tree.map(lambda leaf: leaf[0, 0], stacked))
        return jax.tree.map(lambda leaf: leaf[None, None], single)
    return jax.vmap(jax.vmap(function))(*stacked)


def check_fixed_support(owner: str, q: Distribution) -> None:
    """Raise where the score does not have mean zero, because a parameter moves the support."""
    names = moving_support(q)
    if names:
        raise ValueError(
            f"{owner} expected a support that stays where it is, got the parameters "
            f"{', '.join(names)}, whose score does not have mean zero: use gradient=pathwise, or "
            "keep them constant, made outside of what is differentiated or compiled"
        )


def sampled(z: PyTree, log_q: Float[Array, "L 1"], **others: Any) -> Draws:
    """Draws that all weigh the same; whatever is not named is as for pathwise draws."""
    return Draws(z=z, log_q=log_q, weight=jnp.ones_like(log_q), **{"hard": z, **others})
