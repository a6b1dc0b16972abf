"""Factors of a covariance matrix: of a full one, and of a diagonal one plus low rank."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import Precision
from jaxtyping import Float

from jaxvae._types import Scalar
from jaxvae.distributions.numerics.edges import least_log_scale


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


def orthonormal(
    log_scale: Float[Array, " d"], factor: Float[Array, "d r"]
) -> tuple[Float[Array, "rows r"], Scalar]:
    r"""The projection Q that inverts $\Sigma = D^2 + WW^\top$ for diagonal D.

    With $V = D^{-1}W$ and $M = (V; I)$, the capacitance of the Woodbury identity is
    $C = I + V^\top V = M^\top M$, so that the QR decomposition $M = QR$ has $C = R^\top R$, and

    $$x^\top\Sigma^{-1}x = |P(D^{-1}x; 0)|^2,\qquad P = I - QQ^\top,\qquad
    |\Sigma| = |D|^2\prod_k R_{kk}^2.$$

    This is the least-squares form of the identity. Its subtraction
    $|y|^2 - y^\top VC^{-1}V^\top y$ cancels every digit once $W$ is a few thousand times $D$ in
    float32, and $C$, formed explicitly, may not even be positive definite then. All singular
    values of M are at least one, so neither R nor its derivative is ever near singular.

    Args:
        log_scale: $\log\mathrm{diag}(D)$.
        factor: W.

    Returns:
        Q with d + r rows, and $\frac12\log|C| = \sum_k\log|R_{kk}|$.
    """
    scaled = factor * jnp.exp(-log_scale)[:, None]
    stacked = jnp.concatenate([scaled, jnp.eye(factor.shape[1], dtype=factor.dtype)])
    q, triangle = jnp.linalg.qr(stacked)
    return q, jnp.sum(jnp.log(jnp.abs(jnp.diagonal(triangle))))


def project_out(q: Float[Array, "rows r"], x: Float[Array, "rows *m"]) -> Float[Array, "rows *m"]:
    r"""$(I - QQ^\top)x$, of a vector or of each column."""
    along = jnp.matmul(q.T, x, precision=Precision.HIGHEST)
    return x - jnp.matmul(q, along, precision=Precision.HIGHEST)
