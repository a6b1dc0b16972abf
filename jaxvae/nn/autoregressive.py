"""Inverse autoregressive flow."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PyTree, Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.nn.masked import context_length, evaluate, masked


def _log_gate(gate: Float[Array, " d"]) -> Float[Array, " d"]:
    return math.log(2.0) + jax.nn.log_sigmoid(gate)


@distribution
class InverseAutoregressive:
    r"""$y = g \odot x + m$ with $m_i, s_i$ functions of $x_{<i}$ and h.

    The gate $g = 2/(1 + e^{-s})$ lies between 0 and 2. A fresh network has m = s = 0, so that the
    block starts as the identity: with ``objectives.analytic_base`` a fresh posterior then has the
    gradient noise of its base. The Jacobian is triangular:
    $\log|\det\partial y/\partial x| = \sum_i\log g_i$.

    ``forward`` is one pass through the network. ``inverse`` finds one coordinate after another in d
    passes: exact, and d times as slow.

    Args:
        weights: parameters of ``nn.masked_mlp(d, outputs=2, ...)``, shared by all examples.
        context: h, what the encoder says of one example besides the base's parameters.

    Reference: Kingma et al. (2016), section 4 and algorithm 1, whose gate stays below 1.

    Example:
        >>> import jax
        >>> from jaxvae.nn import InverseAutoregressive, masked_mlp
        >>> weights = masked_mlp(3, outputs=2, hidden=(8,)).init(jax.random.key(0))
        >>> block = InverseAutoregressive(weights, jax.numpy.zeros(0))
        >>> block.forward(jax.numpy.ones(3))[0].tolist()
        [1.0, 1.0, 1.0]
    """

    weights: PyTree
    context: Float[Array, " context"]

    shared: ClassVar[tuple[str, ...]] = ("weights",)

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""All coordinates at once, and $\sum_i\log g_i$."""
        self._check("forward", x)
        shift, gate = self._outputs(masked(self.weights), x)
        return 2.0 * jax.nn.sigmoid(gate) * x + shift, jnp.sum(_log_gate(gate))

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""$x_i = (y_i - m_i)/g_i$ in turn, and $-\sum_i\log g_i$."""
        self._check("inverse", y)
        weights, places = masked(self.weights), jnp.arange(y.shape[0])

        def find(x: Array, place: Array) -> tuple[Array, Scalar]:
            shift, gate = self._outputs(weights, x)
            # Later coordinates stay zero until their turn: no weight of zero meets an overflow.
            x = jnp.where(places == place, (y - shift) * jnp.exp(-_log_gate(gate)), x)
            return x, -_log_gate(gate)[place]

        x, log_dets = lax.scan(find, jnp.zeros_like(y), places)
        return x, jnp.sum(log_dets)

    def _outputs(self, weights: PyTree, x: Float[Array, " d"]) -> Float[Array, "2 d"]:
        # An optimiser with steps of one size moves all weights that a coordinate sees by as much,
        # and for noise that they share in one direction: over their number, a step stays small.
        return evaluate(weights, x, self.context) / x.shape[0]

    def _check(self, method: str, value: Array) -> None:
        size, width = self.weights["direct"].shape
        _check.event_shape(f"InverseAutoregressive.{method}", (size,), value.shape)
        if width != 2 * size:
            raise ValueError(
                "InverseAutoregressive expected weights with a shift and a gate for each "
                f"coordinate, got {width // size} outputs; use nn.masked_mlp(..., outputs=2)"
            )
        expected = context_length(self.weights)
        if self.context.shape != (expected,):
            raise ValueError(
                f"InverseAutoregressive expected a context of shape ({expected},), got "
                f"{self.context.shape}; give nn.masked_mlp(..., context=) its length"
            )
