"""Flows one after another."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae._types import Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.flows.base import Flow, inverse


@distribution
class Chain:
    r"""$f_n\circ\dots\circ f_1$, whose log-determinants add up.

    Args:
        flows: the first is applied first.

    Reference: Rezende and Mohamed (2015), equations 6 and 7.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions.flows import Chain, Permutation, Reversal
        >>> y, log_det = Chain((Reversal(), Permutation((1, 0, 2)))).forward(jnp.arange(3.0))
        >>> y.tolist(), float(log_det)
        ([1.0, 2.0, 0.0], 0.0)
    """

    flows: tuple[Flow, ...]

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """Every flow in turn."""
        total = jnp.zeros((), x.dtype)
        for flow in self.flows:
            x, log_det = flow.forward(x)
            total = total + log_det
        return x, total

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """Every inverse, from the last flow to the first.

        Raises:
            ValueError: if a flow has no inverse.
        """
        total = jnp.zeros((), y.dtype)
        for flow in reversed(self.flows):
            y, log_det = inverse(flow, y)
            total = total + log_det
        return y, total
