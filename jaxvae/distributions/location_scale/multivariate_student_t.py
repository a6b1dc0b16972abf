"""Student's t distribution over vectors, an elliptical family."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import Precision
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.composition._log_gamma import sample_log_gamma
from jaxvae.distributions.location_scale._covariance import cholesky_factor
from jaxvae.distributions.numerics.edges import on_finite
from jaxvae.distributions.numerics.special import HALF_LOG_TWO_PI, log_gamma_ratio, stirling_slope

_LOG_TWO = math.log(2.0)


@distribution
class MultivariateStudentT:
    r"""Vectors of d coordinates with elliptical contours and the tails of Student's t.

    $$p(x) = \frac{\Gamma(\frac{\nu + d}2)}{\Gamma(\frac\nu2)(\nu\pi)^{d/2}\prod_i L_{ii}}
    \Bigl(1 + \tfrac1\nu|L^{-1}(x - \mu)|^2\Bigr)^{-(\nu + d)/2}$$

    A sample is $\mu + Lz\sqrt{\nu/w}$ with a standard Normal z and a chi-squared w of $\nu$ degrees
    of freedom, shared by all coordinates. It is explicit in $\mu$ and L; no explicit
    transformation in $\nu$ exists, and w is differentiated with its distribution function held
    fixed (implicit reparameterisation). For a fixed key w jumps as $\nu$ changes, as rejection
    does: common random numbers are not smooth in it.

    Args:
        loc: centre $\mu$, shape (d,).
        log_diagonal: $\log L_{ii}$, shape (d,).
        lower: $L$ below the diagonal, row by row, shape (d(d - 1)/2,).
        log_df: $\log\nu$, a scalar.

    Raises:
        ValueError: if the shapes are not these.

    Reference: Bath report, section 4.2.5, family 2, "elliptical"; Figurnov, Mohamed and Mnih
        (2018).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import MultivariateStudentT
        >>> df = jnp.log(jnp.array(4.0))
        >>> q = MultivariateStudentT(jnp.zeros(2), jnp.zeros(2), jnp.zeros(1), df)
        >>> round(float(q.covariance[0, 0]), 4)
        2.0
    """

    loc: Float[Array, " d"]
    log_diagonal: Float[Array, " d"]
    lower: Float[Array, " entries"]
    log_df: Float[Array, ""]

    def __post_init__(self) -> None:
        arrays = (self.loc, self.log_diagonal, self.lower, self.log_df)
        got = tuple(tuple(array.shape) for array in arrays)
        d = self.loc.shape[0] if self.loc.ndim == 1 else 0
        if d == 0 or got != ((d,), (d,), (d * (d - 1) // 2,), ()):
            raise ValueError(
                "MultivariateStudentT expected loc (d,), log_diagonal (d,), lower (d(d - 1)/2,) "
                f"with d >= 1 and log_df (), got {', '.join(map(str, got))}; lower holds the "
                "entries below the diagonal row by row, and jax.vmap adds batch axes"
            )

    @property
    def reparameterised(self) -> bool:
        """True: explicitly in the location and scale, implicitly in the degrees of freedom."""
        return True

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.loc.shape)

    @property
    def cholesky(self) -> Float[Array, "d d"]:
        r"""$L$."""
        return cholesky_factor(self.log_diagonal, self.lower)

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        r"""$\mu + Lz\sqrt{\nu/w}$."""
        normal_key, gamma_key = jax.random.split(key)
        normal = jax.random.normal(normal_key, self.event_shape, self.loc.dtype)
        log_half = self.log_df - _LOG_TWO
        stretch = jnp.exp(0.5 * (log_half - sample_log_gamma(gamma_key, log_half)))
        return self.loc + stretch * jnp.matmul(self.cholesky, normal, precision=Precision.HIGHEST)

    def log_prob(self, value: Float[Array, " d"]) -> Scalar:
        """Log-density of one event, in nats, by one triangular solve."""
        _check.event_shape("MultivariateStudentT.log_prob", self.event_shape, value.shape)
        return on_finite(self._log_density, value, self.loc)

    def _log_density(self, value: Float[Array, " d"]) -> Scalar:
        noise = solve_triangular(self.cholesky, value - self.loc, lower=True)
        scaled = noise * jnp.exp(-0.5 * self.log_df)
        # Lengths are measured in the largest coordinate, whose square would overflow.
        peak = jax.lax.stop_gradient(jnp.maximum(1.0, jnp.max(jnp.abs(scaled))))
        square = jnp.sum(jnp.square(scaled / peak))
        growth = 2.0 * jnp.log(peak) + jnp.log1p(square + (1.0 / peak**2 - 1.0))
        return self._log_peak - 0.5 * (jnp.exp(self.log_df) + len(self.loc)) * growth

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, " d"], Scalar]:
        """One event and its log-density."""
        value = self.sample(key)
        return value, self.log_prob(value)

    @property
    def mean(self) -> Float[Array, " d"]:
        r"""$\mu$, and NaN for $\nu \le 1$."""
        return jnp.where(self.log_df > 0, self.loc, jnp.nan)

    @property
    def mode(self) -> Float[Array, " d"]:
        r"""$\mu$."""
        return self.loc

    @property
    def variance(self) -> Float[Array, " d"]:
        """Of each coordinate, the diagonal of the covariance."""
        return jnp.sum(jnp.square(self.cholesky), axis=1) * self._growth_of_variance

    @property
    def covariance(self) -> Float[Array, "d d"]:
        r"""$LL^\top\nu/(\nu - 2)$, infinite or NaN where ``variance`` is."""
        factor = self.cholesky
        return jnp.matmul(factor, factor.T, precision=Precision.HIGHEST) * self._growth_of_variance

    def entropy(self) -> Scalar:
        r"""$\frac{\nu + d}2(\psi(\frac{\nu + d}2) - \psi(\frac\nu2)) - \log p(\mu)$, in nats."""
        _check.event_shape("MultivariateStudentT.entropy", (), self.log_df.shape)
        step = 0.5 * len(self.loc)
        half = 0.5 * jnp.exp(self.log_df)
        whole = half + step
        digammas = jnp.log1p(step / half) + 0.5 * step / (half * whole)
        digammas = digammas + (stirling_slope(whole) - stirling_slope(half))
        return whole * digammas - self._log_peak

    @property
    def _log_peak(self) -> Scalar:
        """Log-density at the centre."""
        half = 0.5 * jnp.exp(self.log_df)
        ratio = log_gamma_ratio(half, 0.5 * len(self.loc))
        return ratio - jnp.sum(self.log_diagonal + HALF_LOG_TWO_PI)

    @property
    def _growth_of_variance(self) -> Scalar:
        excess = self.log_df - _LOG_TWO
        growth = -1.0 / jnp.expm1(-jnp.where(excess > 0, excess, 1.0))
        heavy = jnp.where(self.log_df > 0, jnp.inf, jnp.nan)
        return jnp.where(excess > 0, growth, heavy)
