"""Right-hand sides of neural ordinary differential equations."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.nn.network import Network

Field = Callable[[Scalar, Array, PyTree], Array]


def affine(dim: int) -> Network:
    r"""$z \mapsto Az + b$ with A as it acts on column vectors: ``{"A": (dim, dim), "b": (dim,)}``.

    A starts at independent $N(0, 0.1^2)$, b at zero: a fresh field hardly moves its state.

    Args:
        dim: size of z.

    Raises:
        ValueError: if the size is not a positive integer.

    Reference: Bath report, eq. 24.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> turn = {"A": jnp.array([[0.0, -1.0], [1.0, 0.0]]), "b": jnp.zeros(2)}
        >>> nn.affine(2).apply(turn, jnp.array([1.0, 0.0])).tolist()
        [0.0, 1.0]
    """
    _check.positive("dim of nn.affine", dim)

    def init(key: PRNGKey) -> PyTree:
        return {"A": 0.1 * jax.random.normal(key, (dim, dim)), "b": jnp.zeros(dim)}

    def apply(params: PyTree, z: Float[Array, " d"]) -> Float[Array, " d"]:
        _check.event_shape("nn.affine", (dim,), z.shape)
        return params["A"] @ z + params["b"]

    return Network(init, apply)


def bounded(network: Network, dim: int, *, scale: float = 1.0) -> Network:
    r"""$z \mapsto s \odot \tanh g(z)$: speeds that stay within $\pm s$, whatever the network does.

    A solution moves by at most $s_i|t - t_0|$ in coordinate i, so that no step of a solver and no
    extrapolation can reach infinity. The scale is learnt as ``params["log_scale"]``.

    Args:
        network: g, whose output has ``dim`` numbers.
        dim: number of coordinates.
        scale: s of fresh parameters, in units of z over units of time.

    Raises:
        ValueError: if ``dim`` is not a positive integer, or the scale not positive.

    Example:
        >>> from jaxvae import nn
        >>> field = nn.bounded(nn.mlp((4,), (4,), hidden=(20,), activation=nn.tanh), 4)
    """
    _check.positive("dim of nn.bounded", dim)
    if not scale > 0:
        raise ValueError(f"nn.bounded expected a positive scale, got {scale}; it is the top speed")

    def init(key: PRNGKey) -> PyTree:
        return {"network": network.init(key), "log_scale": jnp.log(jnp.full(dim, float(scale)))}

    def apply(params: PyTree, *inputs: Array) -> Float[Array, " d"]:
        return jnp.exp(params["log_scale"]) * jnp.tanh(network.apply(params["network"], *inputs))

    return Network(init, apply)


@dataclass(frozen=True)
class _Autonomous:
    network: Network

    def __call__(self, t: Scalar, z: Array, params: PyTree) -> Array:
        del t
        return self.network.apply(params, z)


@dataclass(frozen=True)
class _TimeDependent:
    network: Network

    def __call__(self, t: Scalar, z: Array, params: PyTree) -> Array:
        return self.network.apply(params, jnp.append(z, jnp.asarray(t, z.dtype)))


def autonomous(network: Network) -> Field:
    r"""The field $f(t, z) = g(z)$ of ``ode.solve``: time-invariant, so that solutions never cross.

    Fields of one network are equal and hash alike.

    Reference: Bath report, section 6.1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn, ode
        >>> network = nn.affine(2)
        >>> params = network.init(jax.random.key(0))
        >>> times = jnp.linspace(0.0, 1.0, 5)
        >>> ode.solve(nn.autonomous(network), params, jnp.ones(2), times).values.shape
        (5, 2)
    """
    return _Autonomous(network)


def time_dependent(network: Network) -> Field:
    r"""The field $f(t, z) = g(z, t)$ of ``ode.solve``; g takes the vector z with t after it.

    Fields of one network are equal and hash alike.

    Example:
        >>> from jaxvae import nn
        >>> field = nn.time_dependent(nn.mlp((2 + 1,), (2,), hidden=(20,), activation=nn.tanh))
    """
    return _TimeDependent(network)


def augment(z: Float[Array, " d"], extra: int) -> Float[Array, " augmented"]:
    """The vector with ``extra`` zeros after it, as the initial state of an augmented neural ODE.

    In the larger space solutions may pass over each other, which those of a field on the d
    coordinates cannot. The answer is the first d coordinates of the solution,
    ``values[..., :d]``.

    Args:
        z: the state.
        extra: number of coordinates to add.

    Raises:
        ValueError: if ``extra`` is not an integer from 0 on.

    Reference: Dupont, Doucet and Teh (2019), section 4.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> nn.augment(jnp.ones(2), 3).tolist()
        [1.0, 1.0, 0.0, 0.0, 0.0]
    """
    _check.not_negative("extra of nn.augment", extra)
    return jnp.pad(z, (0, extra))
