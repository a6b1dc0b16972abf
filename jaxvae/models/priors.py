"""Families of priors of the latent variable."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions import Distribution, Normal
from jaxvae.models.posteriors import no_parameters
from jaxvae.nn import Network


class PriorFamily(NamedTuple):
    """The distribution of the latent variable before anything is seen but the context.

    Attributes:
        init: ``(key, d)`` to its parameters; None where it has none.
        build: ``(parameters, context, d)`` to p(z | c).
        conditional: whether ``build`` reads the context.
    """

    init: Callable[[PRNGKey, int], PyTree]
    build: Callable[[PyTree, Any, int], Distribution]
    conditional: bool = False


def standard_normal() -> PriorFamily:
    """N(0, I), whatever the context.

    Example:
        >>> from jaxvae.models import standard_normal
        >>> standard_normal().build(None, None, 3).event_shape
        (3,)
    """

    def build(params: PyTree, context: Any, latent_dim: int) -> Normal:
        del params, context
        return Normal.standard((latent_dim,))

    return PriorFamily(no_parameters, build)


def conditional_normal(network: Network) -> PriorFamily:
    r"""N($\mu(c)$, diag $\sigma^2(c)$), learnt with the decoder: a place for each class.

    Args:
        network: from the context to 2d numbers, $\mu$ followed by $\log\sigma$.

    Raises:
        ValueError: when called, if there is no context, or the outputs are not 2d numbers.

    Reference: thesis draft, section 4.3.1.

    Example:
        >>> import jax
        >>> from jaxvae import nn
        >>> from jaxvae.models import conditional_normal
        >>> prior = conditional_normal(nn.mlp((10,), (4,), hidden=()))
        >>> params = prior.init(jax.random.key(0), 2)
        >>> prior.build(params, jax.nn.one_hot(3, 10), 2).event_shape
        (2,)
    """

    def init(key: PRNGKey, latent_dim: int) -> PyTree:
        del latent_dim
        return network.init(key)

    def build(params: PyTree, context: Any, latent_dim: int) -> Normal:
        if context is None:
            raise ValueError(
                "conditional_normal expected a context, got none; set Example.context, or pass "
                "context= to sample"
            )
        outputs = network.apply(params, context)
        _check.event_shape("the network of conditional_normal", (2 * latent_dim,), outputs.shape)
        return Normal(*jnp.split(outputs, 2))

    return PriorFamily(init, build, conditional=True)
