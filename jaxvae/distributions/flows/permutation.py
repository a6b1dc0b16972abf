"""Rearranging the coordinates, so that the next flow treats others first."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Scalar


@jax.tree_util.register_static
@dataclass(frozen=True)
class Permutation:
    r"""$y_i = x_{\pi(i)}$, which changes no volume.

    Args:
        order: $\pi$, every index from 0 to d - 1 once; it is part of the program and no parameter.

    Raises:
        ValueError: if the order is not a permutation.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions.flows import Permutation
        >>> Permutation((2, 0, 1)).forward(jnp.arange(3.0))[0].tolist()
        [2.0, 0.0, 1.0]
    """

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(
                f"Permutation expected every index from 0 to {len(self.order) - 1} once, got "
                f"{self.order}"
            )

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """The coordinates in their new order, and 0."""
        _check.event_shape("Permutation.forward", (len(self.order),), x.shape)
        return x[np.array(self.order)], jnp.zeros((), x.dtype)

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """The coordinates in their old order, and 0."""
        _check.event_shape("Permutation.inverse", (len(self.order),), y.shape)
        return y[np.argsort(self.order)], jnp.zeros((), y.dtype)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Reversal:
    r"""$y_i = x_{d+1-i}$: the order between autoregressive flows of Kingma et al. (2016).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions.flows import Reversal
        >>> Reversal().forward(jnp.arange(3.0))[0].tolist()
        [2.0, 1.0, 0.0]
    """

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """The last coordinate first, and 0."""
        return x[::-1], jnp.zeros((), x.dtype)

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """Itself."""
        return self.forward(y)
