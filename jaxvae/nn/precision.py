"""Parameters in one precision, arithmetic in another."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvae._types import PRNGKey, PyTree
from jaxvae.nn.network import Network

_NAMES = ("bfloat16", "float16", "float32", "float64")


def with_precision(
    network: Network, *, params: DTypeLike = jnp.float32, compute: DTypeLike = jnp.float32
) -> Network:
    """A network that keeps its parameters in one dtype and computes in another.

    Parameters and floating inputs are cast to ``compute``, outputs and gradients back to
    ``params``. Densities and bounds, which take the outputs, are
    thus as precise as the parameters while the matrix products run in bfloat16.

    Args:
        network: the network; casts in its own code stay as they are.
        params: dtype of parameters, outputs and gradients: "bfloat16", "float16", "float32" or
            "float64". A recipe that goes through JSON needs the name, elsewhere
            ``jax.numpy.bfloat16`` does too.
        compute: dtype of the arithmetic, named likewise. float16 overflows above 65504 and has no
            loss scaling here; bfloat16 has the range of float32.

    Raises:
        ValueError: if a dtype is none of these, or is float64 while ``jax_enable_x64`` is off.

    Reference: Micikevicius et al. (2018), section 3.1, for the copy of the parameters.

    Example:
        >>> import jax
        >>> from jaxvae.nn import mlp, with_precision
        >>> network = with_precision(mlp((2,), (3,)), compute="bfloat16")
        >>> network.apply(network.init(jax.random.key(0)), jax.numpy.ones(2)).dtype
        dtype('float32')
    """
    kept, computed = _checked("params", params), _checked("compute", compute)

    def init(key: PRNGKey) -> PyTree:
        return _cast(network.init(key), kept)

    def apply(params: PyTree, *inputs: Any) -> Any:
        params, inputs = _cast((params, inputs), computed)
        # Flax's normalisation layers take their statistics in float32, which strict promotion
        # forbids to meet bfloat16.
        with jax.numpy_dtype_promotion("standard"):
            outputs = network.apply(params, *inputs)
        return _cast(outputs, kept)

    return Network(init, apply)


def _cast(tree: PyTree, name: str) -> PyTree:
    """The tree with every floating leaf in the named dtype; labels and keys are unchanged."""
    dtype = jnp.dtype(_checked("with_precision", name))

    def cast(leaf):
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype) if floating else leaf

    return jax.tree.map(cast, tree)


def _checked(owner: str, dtype: DTypeLike) -> str:
    """The name of a dtype, which must be one of ours and one that JAX does not change."""
    try:
        # numpy reads None as float64.
        name = "None" if dtype is None else jnp.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in _NAMES:
        raise ValueError(f"{owner} expected one of {', '.join(_NAMES)}, got {name}")
    if jax.dtypes.canonicalize_dtype(name).name != name:
        raise ValueError(
            f"{owner} expected a dtype that JAX keeps, got float64, which it turns into float32; "
            'call jax.config.update("jax_enable_x64", True) first'
        )
    return name
