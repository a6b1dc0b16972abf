"""The Cholesky factor of a covariance, from the unconstrained output of a network."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae.distributions.numerics.ratio import least_log_scale


def strictly_lower(lower: Float[Array, "entries"], d: int) -> Float[Array, "d d"]:
    """The matrix whose entries below the diagonal are ``lower``, row by row, and the rest zero."""
    rows = np.arange(d)
    padded = jnp.concatenate([lower, jnp.zeros(1, lower.dtype)])
    # Windows of one length, of which each row keeps its own entries: the transpose of this gather
    # adds whole rows. Placing entries one by one is ten times as slow forward and backward.
    starts = jnp.asarray(rows * (rows - 1) // 2)
    windows = jax.vmap(lambda start: jax.lax.dynamic_slice(padded, (start,), (d,)))(starts)
    return jnp.where(np.tri(d, k=-1, dtype=bool), windows, 0.0)


def cholesky_factor(
    log_diagonal: Float[Array, "d"], lower: Float[Array, "entries"]
) -> Float[Array, "d d"]:
    r"""$L = L_{\text{strict}} + \mathrm{diag}(\tau)$ from $\log\tau$ and the entries below it.

    Args:
        log_diagonal: $\log\tau$, shape (d,).
        lower: the strictly lower part row by row, shape (d(d - 1)/2,).

    Reference: AE + VAE notes, full-covariance Gaussian posterior.
    """
    d = log_diagonal.shape[0]
    least = least_log_scale(log_diagonal.dtype)
    diagonal = jnp.broadcast_to(jnp.exp(jnp.maximum(log_diagonal, least))[:, None], (d, d))
    return jnp.where(np.eye(d, dtype=bool), diagonal, strictly_lower(lower, d))
