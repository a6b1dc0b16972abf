"""A perceptron whose i-th outputs see only the inputs before the i-th."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
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
        context: length of the context; 0 is none.

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
        return evaluate(masked(params), x, context)

    return Network(init, apply)


def masked(params: PyTree) -> PyTree:
    """The parameters with zeros where an output must not see an input."""
    direct = params["direct"]
    widths = (direct.shape[0], *(layer["bias"].shape[0] for layer in params["layers"]))
    layers = [
        layer | {"kernel": jnp.where(mask, layer["kernel"], 0.0)}
        for layer, mask in zip(params["layers"], _masks(direct.shape[0], widths), strict=True)
    ]
    (mask,) = _masks(direct.shape[0], (direct.shape[0], direct.shape[1]))
    return {"layers": layers, "direct": jnp.where(mask, direct, 0.0)}


def evaluate(
    params: PyTree, x: Float[Array, " d"], context: Float[Array, " context"]
) -> Float[Array, "outputs d"]:
    """The network of parameters that are masked already."""
    hidden = x
    for layer in params["layers"][:-1]:
        hidden = jax.nn.elu(_affine(layer, hidden, context))
    output = _affine(params["layers"][-1], hidden, context) + x @ params["direct"]
    return output.reshape(-1, x.shape[0])


def context_length(params: PyTree) -> int:
    """The context that these parameters look at; 0 is none."""
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
