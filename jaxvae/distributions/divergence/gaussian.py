r"""Kullback-Leibler divergences between Normals, diagonal, full and of low rank.

With the covariance of q as $TT^\top + WW^\top$ (T triangular with diagonal $t$, W absent except for
low rank) and a map $S^{-1}$ that whitens p, AE + VAE notes' formula for full Gaussians,

$$KL(q \| p) = \tfrac12\big(\mathrm{tr}(\Sigma_p^{-1}\Sigma_q) - d
+ (\mu_q - \mu_p)^\top\Sigma_p^{-1}(\mu_q - \mu_p) + \log|\Sigma_p| - \log|\Sigma_q|\big),$$

has the trace $|S^{-1}T|^2 + |S^{-1}W|^2$ in squares of Frobenius norms.

Reference: AE + VAE notes; Bath report, section 2.2.1; thesis draft, eq. 4.13.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import solve_triangular

from jaxvae.distributions.location_scale._covariance import orthonormal, project_out, strictly_lower
from jaxvae.distributions.location_scale.low_rank_normal import LowRankNormal
from jaxvae.distributions.location_scale.multivariate_normal import MultivariateNormal
from jaxvae.distributions.location_scale.normal import Normal
from jaxvae.distributions.numerics.edges import inverse_scale


def _normal_normal(q: Normal, p: Normal) -> Array:
    r"""$\log(\sigma_p/\sigma_q) + (\sigma_q^2 + (\mu_q - \mu_p)^2)/(2\sigma_p^2) - 1/2$.

    Thesis draft, eq. 4.13; with p = N(0, I) it is exercise 12, task 2b.
    """
    log_ratio = q.log_scale - p.log_scale
    shift = (q.loc - p.loc) * inverse_scale(p.log_scale)
    return 0.5 * (jnp.expm1(2.0 * log_ratio) + shift * shift) - log_ratio


def _full_normal(q: MultivariateNormal, p: Normal) -> Array:
    """That of the diagonals, and half the squares of what L has below it: no solve."""
    diagonal = jnp.sum(_normal_normal(Normal(q.loc, q.log_diagonal), p))
    below = strictly_lower(q.lower, q.loc.shape[0]) * inverse_scale(p.log_scale)[:, None]
    return diagonal + _half_square(below)


def _low_rank_normal(q: LowRankNormal, p: Normal) -> Array:
    diagonal = jnp.sum(_normal_normal(Normal(q.loc, q.log_scale), p))
    scaled = q.factor * inverse_scale(p.log_scale)[:, None]
    return diagonal + _half_square(scaled) - _half_log_capacitance(q)


def _any_full(q: Normal | MultivariateNormal | LowRankNormal, p: MultivariateNormal) -> Array:
    r"""By one triangular solve for $L_p^{-1}(T - L_p)$, which vanishes where q is p."""
    triangle, log_diagonal = _triangle(q)
    factor = p.cholesky
    whitened = solve_triangular(
        factor, jnp.column_stack([triangle - factor, *_beside(q), q.loc - p.loc]), lower=True
    )
    log_ratio = log_diagonal - p.log_diagonal
    diagonal = jnp.sum(0.5 * jnp.expm1(2.0 * log_ratio) - log_ratio)
    # The diagonal of the solution is expm1(log_ratio), which is already counted.
    off_diagonal = jnp.where(jnp.eye(*whitened.shape, dtype=bool), 0.0, whitened)
    return diagonal + _half_square(off_diagonal) - _half_log_capacitance(q)


def _any_low_rank(q: Normal | MultivariateNormal | LowRankNormal, p: LowRankNormal) -> Array:
    """By the projection that whitens p."""
    triangle, log_diagonal = _triangle(q)
    basis, half_log_capacitance = orthonormal(p.log_scale, p.factor)
    d, r = p.factor.shape
    columns = jnp.column_stack([triangle, q.loc - p.loc]) * inverse_scale(p.log_scale)[:, None]
    half_squares = _half_square(project_out(basis, jnp.pad(columns, ((0, r), (0, 0)))))
    if isinstance(q, LowRankNormal):
        half_squares += _half_square(project_out(basis, _factor_beyond(q, p)))
    log_ratio = jnp.sum(p.log_scale - log_diagonal) + half_log_capacitance
    return half_squares - 0.5 * d + log_ratio - _half_log_capacitance(q)


def _factor_beyond(q: LowRankNormal, p: LowRankNormal) -> Array:
    """$(V; 0)$ of q in units of p, less whatever column of p's own $(V; I)$ makes it smaller.

    The projection does not see the difference, and p's own columns may be large: so nothing is lost
    to rounding where q is near p.
    """
    per_scale = inverse_scale(p.log_scale)[:, None]
    above = q.factor * per_scale
    below = jnp.zeros((p.factor.shape[1], q.factor.shape[1]), above.dtype)
    if q.factor.shape == p.factor.shape:
        difference = (q.factor - p.factor) * per_scale
        smaller = jnp.sum(jnp.square(difference), axis=0) < jnp.sum(jnp.square(above), axis=0)
        above = jnp.where(smaller[None, :], difference, above)
        below = jnp.where(smaller[None, :], -jnp.eye(*below.shape, dtype=above.dtype), below)
    return jnp.concatenate([above, below])


def _triangle(q: Normal | MultivariateNormal | LowRankNormal) -> tuple[Array, Array]:
    """T and the logarithm of its diagonal."""
    if isinstance(q, MultivariateNormal):
        return q.cholesky, q.log_diagonal
    return jnp.diag(jnp.exp(q.log_scale)), q.log_scale


def _beside(q: Normal | MultivariateNormal | LowRankNormal) -> list[Array]:
    """W, if there is one."""
    return [q.factor] if isinstance(q, LowRankNormal) else []


def _half_log_capacitance(q: Normal | MultivariateNormal | LowRankNormal) -> Array | float:
    r"""$\frac12\log|\Sigma_q| - \sum_i\log T_{ii}$."""
    return orthonormal(q.log_scale, q.factor)[1] if isinstance(q, LowRankNormal) else 0.0


def _half_square(x: Array) -> Array:
    return 0.5 * jnp.sum(jnp.square(x))


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    (Normal, Normal): _normal_normal,
    (MultivariateNormal, Normal): _full_normal,
    (LowRankNormal, Normal): _low_rank_normal,
    (Normal, MultivariateNormal): _any_full,
    (MultivariateNormal, MultivariateNormal): _any_full,
    (LowRankNormal, MultivariateNormal): _any_full,
    (Normal, LowRankNormal): _any_low_rank,
    (MultivariateNormal, LowRankNormal): _any_low_rank,
    (LowRankNormal, LowRankNormal): _any_low_rank,
}
