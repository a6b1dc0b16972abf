"""Inverse autoregressive flow, and the masked perceptron that gives its shifts and gates."""

import math
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.nn.network import Network


def masked_mlp(size: int, *, outputs: int, hidden: tuple[int, ...], context: int = 0) -> Network:
    r"""``outputs`` numbers for each of ``size`` inputs, functions of the inputs before it alone.

    Each hidden unit has a degree k from 0 to size - 1 and sees what depends on the first k inputs;
    the i-th outputs see units of degree below i. Inputs also reach the outputs directly, and the
    context, which is not masked, reaches every layer. Hidden units are exponential linear. The
    last layer starts at zero, so that every output does.

    Args:
        size: d.
        outputs: numbers for each input.
        hidden: widths of the hidden layers.
        context: length of the context; 0 for no context.

    Returns:
        A network: ``apply(parameters, x, context)`` of d numbers and the context to an array of
        shape (outputs, size).

    Raises:
        ValueError: if a width is not positive, or the context negative.

    Reference: Germain et al. (2015), "MADE", sections 3 and 4.

    Example:
        >>> import jax
        >>> from jaxvae.nn import masked_mlp
        >>> network = masked_mlp(3, outputs=2, hidden=(8,), context=4)
        >>> parameters = network.init(jax.random.key(0))
        >>> network.apply(parameters, jax.numpy.ones(3), jax.numpy.ones(4)).shape
        (2, 3)
    """
    for width in (size, outputs, *hidden):
        _check.positive("a width of nn.masked_mlp", width)
    _check.not_negative("context of nn.masked_mlp", context)
    widths = (size, *hidden, outputs * size)

    def init(key: PRNGKey) -> PyTree:
        keys = jax.random.split(key, len(hidden) + 1)
        masks = _masks(size, widths)
        layers = [_layer(k, m, context) for k, m in zip(keys, masks, strict=True)]
        layers[-1] = jax.tree.map(jnp.zeros_like, layers[-1])
        return {"layers": layers, "direct": jnp.zeros((size, outputs * size))}

    def apply(params: PyTree, x: Array, context: Array) -> Array:
        return _evaluate(_masked(params), x, context)

    return Network(init, apply)


def _masked(params: PyTree) -> PyTree:
    """The parameters with zeros where an output must not see an input."""
    direct = params["direct"]
    widths = (direct.shape[0], *(layer["bias"].shape[0] for layer in params["layers"]))
    layers = [
        layer | {"kernel": jnp.where(mask, layer["kernel"], 0.0)}
        for layer, mask in zip(params["layers"], _masks(direct.shape[0], widths), strict=True)
    ]
    (mask,) = _masks(direct.shape[0], (direct.shape[0], direct.shape[1]))
    return {"layers": layers, "direct": jnp.where(mask, direct, 0.0)}


def _evaluate(
    params: PyTree, x: Float[Array, " d"], context: Float[Array, " context"]
) -> Float[Array, "outputs d"]:
    """The network of parameters that are masked already."""
    hidden = x
    for layer in params["layers"][:-1]:
        hidden = jax.nn.elu(_affine(layer, hidden, context))
    output = _affine(params["layers"][-1], hidden, context) + x @ params["direct"]
    return output.reshape(-1, x.shape[0])


def _context_length(params: PyTree) -> int:
    """The length of the context that these parameters were made for."""
    layer = params["layers"][0]
    return layer["context"].shape[0] if "context" in layer else 0


def _affine(layer: PyTree, x: Array, context: Array) -> Array:
    output = x @ layer["kernel"] + layer["bias"]
    return output + context @ layer["context"] if "context" in layer else output


def _layer(key: PRNGKey, mask: np.ndarray, context: int) -> PyTree:
    """Uniform weights up to one over the root of the number of inputs that a unit sees."""
    kernel_key, context_key = jax.random.split(key)
    bound = 1.0 / np.sqrt(np.maximum(mask.sum(axis=0) + context, 1))[None, :]

    def uniform(key, rows):
        shape = (rows, mask.shape[1])
        drawn = jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
        return drawn * jnp.asarray(bound, drawn.dtype)

    layer = {"kernel": uniform(kernel_key, mask.shape[0]), "bias": jnp.zeros(mask.shape[1])}
    return layer | ({"context": uniform(context_key, context)} if context else {})


def _masks(size: int, widths: tuple[int, ...]) -> list[np.ndarray]:
    """For each layer, which units see which; inputs, hidden units and outputs in turn."""
    degrees = [np.arange(size) + 1]
    degrees += [np.arange(width) * size // width for width in widths[1:-1]]
    degrees.append(np.tile(np.arange(size), widths[-1] // size))
    return [below[:, None] <= above[None, :] for below, above in pairwise(degrees)]


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
        shift, gate = self._outputs(_masked(self.weights), x)
        return 2.0 * jax.nn.sigmoid(gate) * x + shift, jnp.sum(_log_gate(gate))

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""$x_i = (y_i - m_i)/g_i$ in turn, and $-\sum_i\log g_i$."""
        self._check("inverse", y)
        weights, places = _masked(self.weights), jnp.arange(y.shape[0])

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
        return _evaluate(weights, x, self.context) / x.shape[0]

    def _check(self, method: str, value: Array) -> None:
        size, width = self.weights["direct"].shape
        _check.event_shape(f"InverseAutoregressive.{method}", (size,), value.shape)
        if width != 2 * size:
            raise ValueError(
                "InverseAutoregressive expected weights with a shift and a gate for each "
                f"coordinate, got {width // size} outputs; use nn.masked_mlp(..., outputs=2)"
            )
        expected = _context_length(self.weights)
        if self.context.shape != (expected,):
            raise ValueError(
                f"InverseAutoregressive expected a context of shape ({expected},), got "
                f"{self.context.shape}; give nn.masked_mlp(..., context=) its length"
            )
