"""Affine coupling: half of the coordinates decides how the other half is scaled and shifted."""

import math
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.nn.network import Network

_LARGEST_LOG_SCALE = 2.0


def coupling_mlp(size: int, *, hidden: tuple[int, ...], context: int = 0) -> Network:
    """The network of a ``Coupling``: the first half of d numbers and the context to 2 (d - d // 2).

    Hidden units are exponential linear. The last layer starts at zero, so that every output does.

    Args:
        size: d.
        hidden: widths of the hidden layers.
        context: length of the context; 0 for no context.

    Raises:
        ValueError: if a width is not positive, the context negative, or there is nothing that the
            outputs could depend on.
    """
    for width in (size, *hidden):
        _check.positive("a width of nn.coupling_mlp", width)
    _check.not_negative("context of nn.coupling_mlp", context)
    if size // 2 + context == 0:
        raise ValueError(
            "nn.coupling_mlp expected two coordinates or more, or a context, got one coordinate "
            "and no context, so the outputs would be constant; pass a context"
        )
    widths = (size // 2 + context, *hidden, 2 * (size - size // 2))

    def init(key: PRNGKey) -> PyTree:
        layers = [
            {"kernel": _uniform(k, m, n), "bias": jnp.zeros(n)}
            for k, (m, n) in zip(
                jax.random.split(key, len(widths) - 1), pairwise(widths), strict=True
            )
        ]
        return [*layers[:-1], jax.tree.map(jnp.zeros_like, layers[-1])]

    return Network(init, _evaluate)


def _uniform(key: PRNGKey, rows: int, columns: int) -> Array:
    bound = 1.0 / math.sqrt(rows)
    return jax.random.uniform(key, (rows, columns), minval=-bound, maxval=bound)


def _evaluate(params: PyTree, x: Array, context: Array) -> Array:
    hidden = jnp.concatenate([x, context])
    for layer in params[:-1]:
        hidden = jax.nn.elu(hidden @ layer["kernel"] + layer["bias"])
    return hidden @ params[-1]["kernel"] + params[-1]["bias"]


@distribution
class Coupling:
    r"""$y_1 = x_1$, $y_2 = x_2 \odot e^{s} + t$ with s, t functions of $x_1$ and h.

    $x_1$ are the first $\lfloor d/2\rfloor$ coordinates. The log-scale is bounded,
    $s = 2\tanh(\cdot/2)$, so that no example is blown up early in training. A fresh network makes
    the block the identity. $\log|\det\partial y/\partial x| = \sum_i s_i$, and the inverse takes
    one pass as well.

    Args:
        weights: parameters of ``nn.coupling_mlp(d, ...)``, shared by all examples.
        context: h, what the encoder says of one example besides the base's parameters.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), section 3.2.

    Example:
        >>> import jax
        >>> from jaxvae.nn import Coupling, coupling_mlp
        >>> weights = coupling_mlp(3, hidden=(8,)).init(jax.random.key(0))
        >>> Coupling(weights, jax.numpy.zeros(0)).forward(jax.numpy.ones(3))[0].tolist()
        [1.0, 1.0, 1.0]
    """

    weights: PyTree
    context: Float[Array, " context"]

    shared: ClassVar[tuple[str, ...]] = ("weights",)

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""The image and $\sum_i s_i$."""
        kept, changed = self._halves("forward", x)
        log_scale, shift = self._parameters(kept)
        return jnp.concatenate([kept, changed * jnp.exp(log_scale) + shift]), jnp.sum(log_scale)

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""$x_2 = (y_2 - t) \odot e^{-s}$, and $-\sum_i s_i$."""
        kept, changed = self._halves("inverse", y)
        log_scale, shift = self._parameters(kept)
        return jnp.concatenate([kept, (changed - shift) * jnp.exp(-log_scale)]), -jnp.sum(log_scale)

    def _halves(self, method: str, value: Array) -> tuple[Array, Array]:
        changed = self.weights[-1]["bias"].shape[0] // 2
        seen, given = self.weights[0]["kernel"].shape[0], self.context.shape[0]
        half = value.size // 2
        if value.size - half == changed and half + given != seen:
            raise ValueError(
                f"Coupling.{method} expected {seen} inputs of its network, half of the event and "
                f"the context, got {half} and {given}; give nn.coupling_mlp(..., context=) the "
                "length of the context"
            )
        kept = seen - given
        _check.event_shape(f"Coupling.{method}", (kept + changed,), value.shape)
        return value[:kept], value[kept:]

    def _parameters(self, kept: Array) -> tuple[Array, Array]:
        raw, shift = jnp.split(_evaluate(self.weights, kept, self.context), 2)
        return _LARGEST_LOG_SCALE * jnp.tanh(raw / _LARGEST_LOG_SCALE), shift
