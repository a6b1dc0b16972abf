r"""What inverts $\Sigma = D^2 + WW^\top$ for diagonal D: an orthogonal projection.

With $V = D^{-1}W$ and $M = (V; I)$, the capacitance of the Woodbury identity is
$C = I + V^\top V = M^\top M$, so that the QR decomposition $M = QR$ has $C = R^\top R$, and

$$x^\top\Sigma^{-1}x = |P(D^{-1}x; 0)|^2,\qquad P = I - QQ^\top,\qquad
|\Sigma| = |D|^2\prod_k R_{kk}^2.$$

This is the least-squares form of the identity. Its subtraction
$|y|^2 - y^\top VC^{-1}V^\top y$ cancels every digit once $W$ is a few thousand times $D$ in
float32, and $C$, formed explicitly, may not even be positive definite then. All singular values of
M are at least one, so neither R nor its derivative is ever near singular.
"""

import jax.numpy as jnp
from jax import Array
from jax.lax import Precision
from jaxtyping import Float

from jaxvae._types import Scalar


def orthonormal(
    log_scale: Float[Array, " d"], factor: Float[Array, "d r"]
) -> tuple[Float[Array, "rows r"], Scalar]:
    r"""Q with d + r rows, and $\frac12\log|C| = \sum_k\log|R_{kk}|$."""
    scaled = factor * jnp.exp(-log_scale)[:, None]
    stacked = jnp.concatenate([scaled, jnp.eye(factor.shape[1], dtype=factor.dtype)])
    q, triangle = jnp.linalg.qr(stacked)
    return q, jnp.sum(jnp.log(jnp.abs(jnp.diagonal(triangle))))


def project_out(q: Float[Array, "rows r"], x: Float[Array, "rows *m"]) -> Float[Array, "rows *m"]:
    r"""$(I - QQ^\top)x$, of a vector or of each column."""
    along = jnp.matmul(q.T, x, precision=Precision.HIGHEST)
    return x - jnp.matmul(q, along, precision=Precision.HIGHEST)
