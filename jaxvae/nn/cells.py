"""One step of a recurrent network."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.nn.activations import tanh
from jaxvae.nn.network import Network

CellFactory = Callable[[int, int], Network]


def rnn_cell(in_dim: int, hidden: int, *, activation: Callable[[Array], Array] = tanh) -> Network:
    r"""$h \mapsto a(Wx + Uh + b)$.

    W starts with variance one over its number of inputs, U orthogonal, b at zero.

    Args:
        in_dim: size of x.
        hidden: size of h.
        activation: a, elementwise.

    Returns:
        A network: ``apply(parameters, h, x)`` to the next h.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Elman (1990).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> cell = nn.rnn_cell(3, 25)
        >>> cell.apply(cell.init(jax.random.key(0)), jnp.zeros(25), jnp.ones(3)).shape
        (25,)
    """
    _check_sizes("nn.rnn_cell", in_dim, hidden)

    def apply(params: PyTree, h: Array, x: Array) -> Float[Array, " hidden"]:
        from_x, from_h = _products("nn.rnn_cell", (in_dim, hidden), params, h, x)
        return activation(from_x + from_h)

    return Network(lambda key: _init(key, in_dim, hidden, 1), apply)


def gru_cell(in_dim: int, hidden: int) -> Network:
    r"""A gated recurrent unit.

    .. math::
        r, u = \sigma(W_{r,u} x + U_{r,u} h + b_{r,u}), \quad
        n = \tanh(W_n x + b_n + r \odot U_n h), \quad h \mapsto (1 - u) \odot n + u \odot h

    Weights start as those of ``rnn_cell``, each of the three blocks by itself.

    Args:
        in_dim: size of x.
        hidden: size of h.

    Returns:
        A network: ``apply(parameters, h, x)`` to the next h.

    Raises:
        ValueError: if a size is not a positive integer.

    Reference: Cho et al. (2014); the reset gate stands after the product with U, so that one
        product serves all three.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> cell = nn.gru_cell(3, 25)
        >>> cell.apply(cell.init(jax.random.key(0)), jnp.zeros(25), jnp.ones(3)).shape
        (25,)
    """
    _check_sizes("nn.gru_cell", in_dim, hidden)

    def apply(params: PyTree, h: Array, x: Array) -> Float[Array, " hidden"]:
        from_x, from_h = _products("nn.gru_cell", (in_dim, hidden), params, h, x)
        gates = jax.nn.sigmoid(from_x[: 2 * hidden] + from_h[: 2 * hidden])
        reset, keep = gates[:hidden], gates[hidden:]
        new = jnp.tanh(from_x[2 * hidden :] + reset * from_h[2 * hidden :])
        return (1.0 - keep) * new + keep * h

    return Network(lambda key: _init(key, in_dim, hidden, 3), apply)


def _products(owner: str, sizes: tuple[int, int], params: PyTree, h: Array, x: Array):
    _check.event_shape(f"the input of {owner}", sizes[:1], x.shape)
    _check.event_shape(f"the state of {owner}", sizes[1:], h.shape)
    return x @ params["input"] + params["bias"], h @ params["recurrent"]


def _init(key: PRNGKey, in_dim: int, hidden: int, blocks: int) -> PyTree:
    input_key, *keys = jax.random.split(key, 1 + blocks)
    orthogonal = nnx.initializers.orthogonal()
    return {
        "input": nnx.initializers.lecun_normal()(input_key, (in_dim, blocks * hidden)),
        "recurrent": jnp.concatenate([orthogonal(k, (hidden, hidden)) for k in keys], axis=1),
        "bias": jnp.zeros(blocks * hidden),
    }


def _check_sizes(owner: str, in_dim: int, hidden: int) -> None:
    _check.positive(f"in_dim of {owner}", in_dim)
    _check.positive(f"hidden of {owner}", hidden)
