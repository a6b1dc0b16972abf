"""What a flow is: a smooth one-to-one map of vectors with a cheap log-determinant."""

from typing import Protocol, runtime_checkable

from jax import Array
from jaxtyping import Float

from jaxvae._types import Scalar


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
