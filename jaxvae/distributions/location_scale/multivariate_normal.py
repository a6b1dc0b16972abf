"""The Normal distribution with a full covariance matrix."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import Precision
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit
from jaxvae.distributions.location_scale._covariance import cholesky_factor
from jaxvae.distributions.noise import StandardNormal
from jaxvae.distributions.numerics.edges import on_finite

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@distribution
class MultivariateNormal(Explicit):
    r"""$N(x; \mu, LL^\top)$ over vectors of d coordinates, $L$ lower triangular.

    $$\log p(x) = -\tfrac12|L^{-1}(x - \mu)|^2 - \sum_i\log L_{ii} - \tfrac d2\log 2\pi$$

    Noise $\varepsilon \sim N(0, I)$, transformation $g(\varepsilon) = \mu + L\varepsilon$, whose
    log-determinant is the sum of ``log_diagonal``. A sample brings its log-density from the noise;
    only the density of a foreign value solves a triangular system.

    Args:
        loc: mean $\mu$, shape (d,).
        log_diagonal: $\log L_{ii}$, shape (d,).
        lower: $L$ below the diagonal, row by row, shape (d(d - 1)/2,).

    Raises:
        ValueError: if the shapes are not these.

    Reference: AE + VAE notes, full-covariance Gaussian posterior.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import MultivariateNormal
        >>> normal = MultivariateNormal(jnp.zeros(2), jnp.zeros(2), jnp.array([3.0]))
        >>> normal.covariance.tolist()
        [[1.0, 3.0], [3.0, 10.0]]
    """

    loc: Float[Array, " d"]
    log_diagonal: Float[Array, " d"]
    lower: Float[Array, " entries"]

    def __post_init__(self) -> None:
        got = self.loc.shape, self.log_diagonal.shape, self.lower.shape
        d = self.loc.shape[0] if self.loc.ndim == 1 else 0
        if d == 0 or got != ((d,), (d,), (d * (d - 1) // 2,)):
            raise ValueError(
                "MultivariateNormal expected loc (d,), log_diagonal (d,) and lower "
                f"(d(d - 1)/2,) with d >= 1, got {got[0]}, {got[1]} and {got[2]}; lower holds the "
                "entries below the diagonal row by row, and jax.vmap adds batch axes"
            )

    @classmethod
    def from_cholesky(
        cls, loc: Float[Array, " d"], cholesky: Float[Array, "d d"]
    ) -> "MultivariateNormal":
        """From a lower triangular factor with a positive diagonal; what is above it is ignored.

        Raises:
            ValueError: if the shapes differ.
        """
        _check_matrix("from_cholesky", loc, cholesky)
        below = np.tril_indices(loc.shape[0], -1)
        return cls(loc, jnp.log(jnp.diagonal(cholesky)), cholesky[below])

    @classmethod
    def from_covariance(
        cls, loc: Float[Array, " d"], covariance: Float[Array, "d d"]
    ) -> "MultivariateNormal":
        """From a covariance; NaN unless it is positive definite in the precision of its dtype.

        Raises:
            ValueError: if the shapes differ.
        """
        _check_matrix("from_covariance", loc, covariance)
        return cls.from_cholesky(loc, jnp.linalg.cholesky(covariance))

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.loc.shape)

    @property
    def noise(self) -> StandardNormal:
        """One standard Normal variable for each coordinate."""
        return StandardNormal(self.event_shape, self.loc.dtype)

    @property
    def cholesky(self) -> Float[Array, "d d"]:
        r"""$L$."""
        return cholesky_factor(self.log_diagonal, self.lower)

    @property
    def mean(self) -> Float[Array, " d"]:
        r"""$\mu$."""
        return self.loc

    @property
    def mode(self) -> Float[Array, " d"]:
        r"""$\mu$."""
        return self.loc

    @property
    def variance(self) -> Float[Array, " d"]:
        r"""Of each coordinate, the diagonal of $LL^\top$."""
        return jnp.sum(jnp.square(self.cholesky), axis=1)

    @property
    def covariance(self) -> Float[Array, "d d"]:
        r"""$LL^\top$."""
        factor = self.cholesky
        return jnp.matmul(factor, factor.T, precision=Precision.HIGHEST)

    def transform(self, noise: Float[Array, " d"]) -> Float[Array, " d"]:
        r"""$\mu + L\varepsilon$."""
        return self.loc + jnp.matmul(self.cholesky, noise, precision=Precision.HIGHEST)

    def transform_and_log_prob(
        self, noise: Float[Array, " d"]
    ) -> tuple[Float[Array, " d"], Scalar]:
        """The event and its log-density, from the noise rather than by solving it back out."""
        return self.transform(noise), self._log_prob_of_noise(noise)

    def log_prob(self, value: Float[Array, " d"]) -> Scalar:
        """Log-density of one event, in nats, by one triangular solve."""
        _check.event_shape("MultivariateNormal.log_prob", self.event_shape, value.shape)
        return on_finite(self._log_density, value, self.loc)

    def entropy(self) -> Scalar:
        r"""$\sum_i\log L_{ii} + \frac d2\log 2\pi e$."""
        return jnp.sum(self.log_diagonal + (_HALF_LOG_TWO_PI + 0.5))

    def _log_density(self, value: Float[Array, " d"]) -> Scalar:
        noise = solve_triangular(self.cholesky, value - self.loc, lower=True)
        return self._log_prob_of_noise(noise)

    def _log_prob_of_noise(self, noise: Float[Array, " d"]) -> Scalar:
        return -jnp.sum(0.5 * noise * noise + self.log_diagonal + _HALF_LOG_TWO_PI)


def _check_matrix(owner: str, loc: Array, matrix: Array) -> None:
    """Raise unless the matrix is square and has a row for each coordinate."""
    if loc.ndim != 1 or matrix.shape != (*loc.shape, *loc.shape):
        raise ValueError(
            f"MultivariateNormal.{owner} expected loc (d,) and a matrix (d, d), got {loc.shape} "
            f"and {matrix.shape}; jax.vmap over any batch axis"
        )
