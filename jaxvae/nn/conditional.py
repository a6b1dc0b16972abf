"""Networks that see a context beside their input, and how the two are joined."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.nn.network import Network


class Join(NamedTuple):
    """How an input and a context become the one input of a network.

    Attributes:
        init: key to parameters of its own; None where it has none.
        apply: ``(parameters, input, context)`` to what the network is given.
    """

    init: Callable[[PRNGKey], PyTree]
    apply: Callable[[PyTree, Any, Any], Any]


class Conditional(NamedTuple):
    """A network of an input and its context; a model hands the context to such networks alone.

    Attributes:
        init: key to a fresh pytree of arrays.
        apply: ``(parameters, input, context)`` to outputs; pure.
    """

    init: Callable[[PRNGKey], PyTree]
    apply: Callable[[PyTree, Any, Any], Any]


def concatenated() -> Join:
    """All numbers of the input, followed by all of the context, in one vector.

    Both may be trees of arrays, such as a label and a latent, or several covariates; their leaves
    follow one another in the order of ``jax.tree.leaves``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> nn.concatenated().apply(None, jnp.zeros((2, 2)), jnp.ones(3)).shape
        (7,)
    """

    def apply(params: PyTree, x: Any, context: Any) -> Array:
        del params
        return jnp.concatenate([leaf.ravel() for leaf in (*_leaves(x), *_covariates(x, context))])

    return Join(_no_parameters, apply)


def embedded(network: Network, join: Join | None = None) -> Join:
    """The context passes through a network of its own first, and is joined afterwards.

    Args:
        network: from the context, one array, to its embedding.
        join: of the input and the embedding; None concatenates them.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> join = nn.embedded(nn.mlp((10,), (4,), hidden=()))
        >>> params = join.init(jax.random.key(0))
        >>> join.apply(params, jnp.zeros(2), jax.nn.one_hot(3, 10)).shape
        (6,)
    """
    inner = concatenated() if join is None else join

    def init(key: PRNGKey) -> PyTree:
        first, second = jax.random.split(key)
        return {"embedding": network.init(first), "join": inner.init(second)}

    def apply(params: PyTree, x: Any, context: Any) -> Any:
        embedding = network.apply(params["embedding"], _covariate(x, context))
        return inner.apply(params["join"], x, embedding)

    return Join(init, apply)


def added(network: Network) -> Join:
    """A function of the context is added to the input, which keeps its shape.

    This is how an image stays an image for convolutions, and a class shifts the hidden state that
    a decoder begins with.

    Args:
        network: from the context, one array, to an array of the input's shape.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> join = nn.added(nn.mlp((10,), (8, 8), hidden=()))
        >>> params = join.init(jax.random.key(0))
        >>> join.apply(params, jnp.zeros((8, 8)), jax.nn.one_hot(3, 10)).shape
        (8, 8)
    """

    def apply(params: PyTree, x: Array, context: Any) -> Array:
        shift = network.apply(params, _covariate(x, context))
        _check.event_shape("nn.added", x.shape, shift.shape)
        return x + shift

    return Join(network.init, apply)


def conditional(network: Network, join: Join | None = None) -> Conditional:
    """Let a network see the context of its example.

    Args:
        network: of what ``join`` makes of an input and a context.
        join: ``concatenated()``, ``embedded(network)`` or ``added(network)``; None concatenates.

    Returns:
        A network of two arguments, for a model's encoder or decoder.

    Reference: thesis draft, section 4.3.1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> decoder = nn.conditional(nn.mlp((2 + 10,), (28, 28)))
        >>> params = decoder.init(jax.random.key(0))
        >>> decoder.apply(params, jnp.zeros(2), jax.nn.one_hot(3, 10)).shape
        (28, 28)
    """
    joined = concatenated() if join is None else join

    def init(key: PRNGKey) -> PyTree:
        first, second = jax.random.split(key)
        return {"network": network.init(first), "join": joined.init(second)}

    def apply(params: PyTree, x: Any, context: Any) -> Any:
        return network.apply(params["network"], joined.apply(params["join"], x, context))

    return Conditional(init, apply)


def _no_parameters(key: PRNGKey) -> None:
    del key


def _leaves(tree: Any) -> list[Array]:
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _covariate(x: Any, context: Any) -> Array:
    found = _covariates(x, context)
    if len(found) > 1:
        raise ValueError(
            f"expected a context of one array for its network, got {len(found)} arrays; "
            "concatenate them, or use nn.concatenated()"
        )
    return found[0]


def _covariates(x: Any, context: Any) -> list[Array]:
    """The numbers of the context, in the precision of the input."""
    leaves = _leaves(context)
    if not leaves:
        raise ValueError(
            "a conditional network expected a context, got none; set Example.context, or pass "
            "context= to encode, decode and sample"
        )
    for leaf in leaves:
        # A class number is no quantity: 3 is not between 2 and 4.
        _check.floating("the context of a conditional network (for classes jax.nn.one_hot)", leaf)
    dtype = jnp.result_type(*_leaves(x))
    return [leaf.astype(dtype) for leaf in leaves]
