"""Flows: smooth one-to-one maps of vectors with cheap log-determinants, and chains of them."""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae._types import Scalar
from jaxvae.distributions._pytree import distribution


@runtime_checkable
class Flow(Protocol):
    r"""A pytree with ``forward``, and with ``inverse`` of the same form where that exists.

    Both return the image and the logarithm of the absolute Jacobian determinant of the map that
    they are: $(y, \log|\det\partial y/\partial x|)$ and $(x, \log|\det\partial x/\partial y|)$.
    """

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""$y = f(x)$ and $\log|\det\partial y/\partial x|$."""
        ...


def inverse(flow: Flow, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
    r"""$x = f^{-1}(y)$ and $\log|\det\partial x/\partial y|$.

    Raises:
        ValueError: if the flow has no inverse that can be computed.
    """
    undo = getattr(flow, "inverse", None)
    if undo is None:
        raise ValueError(
            f"the density of a given value expected a flow with an inverse, got "
            f"{type(flow).__name__}, which has none; score the flow's own samples with "
            "sample_and_log_prob (kl=objectives.monte_carlo does), or take another flow"
        )
    return undo(y)


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
