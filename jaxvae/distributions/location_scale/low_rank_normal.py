"""The Normal distribution whose covariance is diagonal plus low rank."""

import math

import jax.numpy as jnp
from jax import Array
from jax.lax import Precision
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit
from jaxvae.distributions.location_scale._covariance import orthonormal, project_out
from jaxvae.distributions.noise import StandardNormal
from jaxvae.distributions.numerics.edges import on_finite

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@distribution
class LowRankNormal(Explicit):
    r"""$N(x; \mu, \Sigma)$ with $\Sigma = \mathrm{diag}(\sigma^2) + WW^\top$, W of r columns.

    $$\log p(x) = -\tfrac12(x - \mu)^\top\Sigma^{-1}(x - \mu) - \tfrac12\log|\Sigma|
    - \tfrac d2\log 2\pi$$

    Noise $(\varepsilon, \eta) \sim N(0, I)$ of d and r variables, transformation
    $g(\varepsilon, \eta) = \mu + \sigma\varepsilon + W\eta$: the marginal of a factor analysis. The
    density costs $O(dr^2)$ by the Woodbury identity and the determinant lemma, from the QR
    decomposition of $(W/\sigma; I)$, whose triangle is the Cholesky factor of the capacitance
    $I + W^\top\mathrm{diag}(\sigma^{-2})W$.

    The density of a sample is computed from its noise and loses nothing for any $\sigma$. That of a
    foreign value recovers the noise from it with an error of $|W|/\sigma$ units in the last place.

    Args:
        loc: mean $\mu$, shape (d,).
        log_scale: $\log\sigma$, shape (d,).
        factor: W, shape (d, r), r >= 1; zero makes it the diagonal Normal.

    Raises:
        ValueError: if the shapes are not these.

    Reference: Woodbury (1950); Bath report, section 4.2.5, family 2, for the transformation.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import LowRankNormal
        >>> LowRankNormal(jnp.zeros(2), jnp.zeros(2), jnp.ones((2, 1))).covariance.tolist()
        [[2.0, 1.0], [1.0, 2.0]]
    """

    loc: Float[Array, " d"]
    log_scale: Float[Array, " d"]
    factor: Float[Array, "d r"]

    def __post_init__(self) -> None:
        got = self.loc.shape, self.log_scale.shape, self.factor.shape
        vectors = self.loc.ndim == 1 and got[0] == got[1]
        if not vectors or self.factor.ndim != 2 or got[2][:1] != got[0] or 0 in got[2]:
            raise ValueError(
                "LowRankNormal expected loc (d,), log_scale (d,) and factor (d, r) with d and r at "
                f"least 1, got {got[0]}, {got[1]} and {got[2]}; use Normal for a diagonal "
                "covariance, and jax.vmap for batch axes"
            )

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.loc.shape)

    @property
    def noise(self) -> StandardNormal:
        r"""The d variables $\varepsilon$, then the r variables $\eta$."""
        return StandardNormal((sum(self.factor.shape),), self.loc.dtype)

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
        r"""Of each coordinate, $\sigma_i^2 + \sum_k W_{ik}^2$."""
        return jnp.exp(2.0 * self.log_scale) + jnp.sum(jnp.square(self.factor), axis=-1)

    @property
    def covariance(self) -> Float[Array, "d d"]:
        r"""$\mathrm{diag}(\sigma^2) + WW^\top$."""
        outer = jnp.matmul(self.factor, self.factor.T, precision=Precision.HIGHEST)
        return outer + jnp.diag(jnp.exp(2.0 * self.log_scale))

    def transform(self, noise: Float[Array, " variables"]) -> Float[Array, " d"]:
        r"""$\mu + \sigma\varepsilon + W\eta$."""
        own, common = jnp.split(noise, [self.loc.shape[0]])
        shared = jnp.matmul(self.factor, common, precision=Precision.HIGHEST)
        return self.loc + jnp.exp(self.log_scale) * own + shared

    def transform_and_log_prob(
        self, noise: Float[Array, " variables"]
    ) -> tuple[Float[Array, " d"], Scalar]:
        """The event and its log-density, from the noise rather than by solving it back out."""
        own, common = jnp.split(noise, [self.loc.shape[0]])
        # (own + V common; 0) less M common, which the projection does not see.
        return self.transform(noise), self._log_prob_of(jnp.concatenate([own, -common]))

    def log_prob(self, value: Float[Array, " d"]) -> Scalar:
        """Log-density of one event, in nats."""
        _check.event_shape("LowRankNormal.log_prob", self.event_shape, value.shape)
        return on_finite(self._log_density, value, self.loc)

    def entropy(self) -> Scalar:
        r"""$\frac12\log|\Sigma| + \frac d2\log 2\pi e$."""
        _, half_log_capacitance = orthonormal(self.log_scale, self.factor)
        return jnp.sum(self.log_scale + (_HALF_LOG_TWO_PI + 0.5)) + half_log_capacitance

    def _log_density(self, value: Float[Array, " d"]) -> Scalar:
        standardised = (value - self.loc) * jnp.exp(-self.log_scale)
        return self._log_prob_of(jnp.pad(standardised, (0, self.factor.shape[1])))

    def _log_prob_of(self, standardised: Float[Array, " variables"]) -> Scalar:
        q, half_log_capacitance = orthonormal(self.log_scale, self.factor)
        residual = project_out(q, standardised)
        normalisation = jnp.sum(self.log_scale + _HALF_LOG_TWO_PI) + half_log_capacitance
        return -0.5 * jnp.sum(jnp.square(residual)) - normalisation
