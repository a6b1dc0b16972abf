"""Inverse autoregressive flow."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PyTree, Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.nn.masked import evaluate, masked

_FORGET_BIAS = 2.0


@distribution
class InverseAutoregressive:
    r"""$y = \sigma \odot x + (1 - \sigma) \odot m$ with $m_i, s_i$ functions of $x_{<i}$ and h.

    The gate is $\sigma = 1/(1 + e^{-(s + 2)})$. A fresh network has m = s = 0, so that the block
    starts as the multiplication by 0.88. The Jacobian is triangular:
    $\log|\det\partial y/\partial x| = \sum_i\log\sigma_i$.

    ``forward`` is one pass through the network. ``inverse`` finds one coordinate after another in d
    passes: exact, and d times as slow.

    Args:
        weights: parameters of ``nn.masked_mlp(d, outputs=2, ...)``, shared by all examples.
        context: h, what the encoder says of one example besides the base's parameters.

    Reference: Kingma et al. (2016), section 4 and algorithm 1.

    Example:
        >>> import jax
        >>> from jaxvae.nn import InverseAutoregressive, masked_mlp
        >>> weights = masked_mlp(3, outputs=2, hidden=(8,)).init(jax.random.key(0))
        >>> block = InverseAutoregressive(weights, jax.numpy.zeros(0))
        >>> block.forward(jax.numpy.ones(3))[0].round(2).tolist()
        [0.8799999952316284, 0.8799999952316284, 0.8799999952316284]
    """

    weights: PyTree
    context: Float[Array, " context"]

    shared: ClassVar[tuple[str, ...]] = ("weights",)

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""All coordinates at once, and $\sum_i\log\sigma_i$."""
        self._check("forward", x)
        mean, gate = evaluate(masked(self.weights), x, self.context)
        gate = gate + _FORGET_BIAS
        return mean + jax.nn.sigmoid(gate) * (x - mean), jnp.sum(jax.nn.log_sigmoid(gate))

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""$x_i = y_i + e^{-(s_i + 2)}(y_i - m_i)$ in turn, and $-\sum_i\log\sigma_i$."""
        self._check("inverse", y)
        weights, places = masked(self.weights), jnp.arange(y.shape[0])

        def find(x: Array, place: Array) -> tuple[Array, Scalar]:
            mean, gate = evaluate(weights, x, self.context)
            gate = gate + _FORGET_BIAS
            # Later coordinates stay zero until their turn: no weight of zero meets an overflow.
            x = jnp.where(places == place, y + jnp.exp(-gate) * (y - mean), x)
            return x, -jax.nn.log_sigmoid(gate[place])

        x, log_dets = lax.scan(find, jnp.zeros_like(y), places)
        return x, jnp.sum(log_dets)

    def _check(self, method: str, value: Array) -> None:
        size = self.weights["direct"].shape[0]
        _check.event_shape(f"InverseAutoregressive.{method}", (size,), value.shape)
