r"""Kullback-Leibler divergences of combinators, from those of their parts.

$KL(\prod_i q_i \| \prod_i p_i) = \sum_i KL(q_i \| p_i)$, and of pairs of a label and a value
$KL(q(k)q(x \mid k) \| p(k)p(x \mid k)) = KL(q(k) \| p(k))
+ \sum_k q(k)\,KL(q(x \mid k) \| p(x \mid k))$.

Reference: Cover and Thomas (2006), theorem 2.5.3, the chain rule.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.distributions.combinators.mixture import Joint, contract
from jaxvae.distributions.combinators.product import Product

COMBINATORS = (Product, Joint)


def parts(q: Any, p: Any) -> dict[str, tuple[Any, Any]]:
    """The pairs that the divergence of a combinator is made of, by their names."""
    if isinstance(q, Product):
        pairs = enumerate(zip(q.factors, p.factors, strict=False))
        return {f"factors[{index}]": pair for index, pair in pairs}
    return {"label": (q.label, p.label), "components": (q.components, p.components)}


def by_factor(q: Any, p: Any, divergence: Callable[[Any, Any], Array]) -> Array:
    """From the divergences by factor of the parts.

    Args:
        q: a combinator.
        p: one of the same kind, over the same events.
        divergence: of two parts, an array.

    Raises:
        ValueError: if the numbers of parts differ.
    """
    if isinstance(q, Product):
        if len(q.factors) != len(p.factors):
            raise ValueError(
                f"kl_divergence expected a p of {len(q.factors)} independent parts, as q has, "
                f"got {len(p.factors)}; give one factor for each of q's"
            )
        pairs = zip(q.factors, p.factors, strict=True)
        return jnp.concatenate([divergence(*pair).ravel() for pair in pairs])
    of_values = jax.vmap(lambda *pair: jnp.sum(divergence(*pair)))(q.components, p.components)
    return jnp.sum(divergence(q.label, p.label)) + contract(q.label.mean, of_values)
