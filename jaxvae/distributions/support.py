"""Which parameters move a distribution's support: derivatives of its density are no use there.

A class names them in a class variable ``support_parameters``. One whose support is fixed and ends
where its density does not vanish says so by ``has_edge``: a flow may carry that edge along.
"""

import dataclasses
from typing import Any

import jax
from jax.core import Tracer

from jaxvae.distributions.combinators.transformed import Transformed


def moving_support(q: Any) -> tuple[str, ...]:
    r"""The parameters that move the support and that something may differentiate.

    $\nabla_\phi E[f(z)] = E[f(z)\nabla_\phi\log q_\phi(z)]$ needs a support that stays where it
    is: an end b that moves contributes $\pm f(b)q_\phi(b)\nabla_\phi b$ besides. Estimators that
    use the score, or leave it out because its mean is zero (f = 1), are then biased. Families whose
    density vanishes at the ends that move, such as ``Triangular``, are fine, as q(b) = 0 there.

    Constants do not count: numbers, NumPy arrays, and JAX arrays from outside of the traced
    function. Under ``jax.jit`` even ``jnp.zeros`` gives a traced array: make fixed bounds before,
    and close over them.

    Args:
        q: any distribution; the parts of combinators are looked through.

    Returns:
        Their names, such as ``("Uniform.low", "Uniform.log_width")``; none where the support is
        fixed.

    Reference: Mohamed, Rosca, Figurnov and Mnih (2020), section 4.3, on when the
    score function has mean zero.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxvae.distributions import Uniform, moving_support
        >>> moving_support(Uniform(jnp.zeros(2), jnp.zeros(2)))
        ()
        >>> def names(low):
        ...     print(moving_support(Uniform(low, jnp.zeros(2))))
        ...     return jnp.sum(low)
        >>> _ = jax.grad(names)(jnp.zeros(2))
        ('Uniform.low',)
    """
    own = getattr(type(q), "support_parameters", ())
    names = [f"{type(q).__name__}.{name}" for name in own if _is_traced(getattr(q, name))]
    for part in _parts(q):
        names.extend(moving_support(part))
    if isinstance(q, Transformed) and _has_edge(q.base) and _is_traced(q.flow):
        names.append(f"{type(q).__name__}.flow")
    return tuple(dict.fromkeys(names))


def _is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def _is_distribution(node: Any) -> bool:
    return hasattr(node, "log_prob")


def _parts(q: Any) -> list[Any]:
    """The distributions that a distribution is made of."""
    fields = dataclasses.fields(q) if dataclasses.is_dataclass(q) else ()
    values = [getattr(q, field.name) for field in fields]
    return [
        node for node in jax.tree.leaves(values, is_leaf=_is_distribution) if _is_distribution(node)
    ]


def _has_edge(q: Any) -> bool:
    """Whether a density jumps, or has a pole, at an end of its support."""
    own = bool(getattr(type(q), "support_parameters", ())) or getattr(type(q), "has_edge", False)
    return own or any(_has_edge(part) for part in _parts(q))
