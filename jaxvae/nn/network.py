"""Flax modules as pairs of pure functions over a pytree of arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from jaxvae._types import PRNGKey, PyTree


class Network(NamedTuple):
    """A neural network of ONE example.

    Attributes:
        init: key to a fresh pytree of arrays.
        apply: ``(parameters, *inputs)`` to outputs; pure.
    """

    init: Callable[[PRNGKey], PyTree]
    apply: Callable[..., Any]


def from_module(build: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Turn the constructor of a Flax NNX module into a Network.

    Args:
        build: makes the module from random streams. The module maps one example, without a batch
            axis, and its whole state must be parameters: random streams (dropout) and running
            statistics (batch normalisation) change from call to call, which a pure function does
            not allow.

    Returns:
        The network; its parameters are a plain nested dictionary of arrays.

    Raises:
        ValueError: if the module keeps state that is not a parameter.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from jaxvae.nn import from_module
        >>> network = from_module(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
        >>> params = network.init(jax.random.key(0))
        >>> network.apply(params, jax.numpy.ones(3)).shape
        (2,)
    """
    abstract = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    graph, parameters, other = nnx.split(abstract, nnx.Param, ...)
    kept = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(other)]
    if kept:
        raise ValueError(
            f"from_module expected a module whose state is parameters only, got {', '.join(kept)}; "
            "use LayerNorm instead of BatchNorm, and leave out Dropout or pass it no streams"
        )
    del parameters

    def init(key: PRNGKey) -> PyTree:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(params=key)), nnx.Param))

    def apply(params: PyTree, *inputs: Any) -> Any:
        module: Any = nnx.merge(graph, params, {})
        return module(*inputs)

    return Network(init, jax.named_call(apply, name="network"))
