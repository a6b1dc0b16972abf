"""The log-Normal distribution."""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Float

from jaxvae._types import Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.composition._log_gamma import log_product
from jaxvae.distributions.noise import StandardNormal
from jaxvae.distributions.numerics.edges import inverse_scale, log_zero, unless_nan
from jaxvae.distributions.numerics.special import HALF_LOG_TWO_PI


@distribution
class LogNormal(Explicit, Factorised):
    r"""Independent exponentials of Normal variables.

    $p(x) = N(\log x; \mu, \sigma^2)/x$ for $x > 0$. Noise $\varepsilon \sim N(0, I)$,
    transformation $g(\varepsilon) = e^{\mu + \sigma\varepsilon}$.

    Args:
        loc: $\mu$, the mean of $\log x$, any event shape.
        log_scale: $\log\sigma$ of $\log x$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 3.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import LogNormal
        >>> float(LogNormal(jnp.zeros(1), jnp.zeros(1)).cdf(jnp.ones(1))[0])
        0.5
    """

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]

    @classmethod
    def from_scale(cls, loc: Float[Array, "*event"], scale: Float[Array, "*event"]) -> "LogNormal":
        r"""From a positive standard deviation of $\log x$."""
        return cls(loc, jnp.log(scale))

    @property
    def noise(self) -> StandardNormal:
        """One standard Normal variable for each coordinate."""
        return StandardNormal(self.event_shape, self.loc.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$e^{\mu + \sigma\varepsilon}$."""
        return jnp.exp(self._log_of(noise))

    def transform_and_log_prob(
        self, noise: Float[Array, "*event"]
    ) -> tuple[Float[Array, "*event"], Scalar]:
        """The event and its log-density, from the noise rather than from the event."""
        log_value = self._log_of(noise)
        return jnp.exp(log_value), jnp.sum(self._log_density(noise, log_value))

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\frac12\varepsilon^2 - \log\sigma - \log x - \frac12\log 2\pi$."""
        inside = (value > 0) & (value < jnp.inf)
        x = jnp.where(inside, value, 1.0)
        return jnp.where(inside, self._log_density(self._noise_of(x), jnp.log(x)), log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\Phi((\log x - \mu)/\sigma)$."""
        inside = (value > 0) & (value < jnp.inf)
        cdf = ndtr(self._noise_of(jnp.where(inside, value, 1.0)))
        beside = unless_nan(value, (value > 0).astype(cdf.dtype))
        return jnp.where(inside, cdf, beside)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$e^{\mu + \sigma^2/2}$."""
        return jnp.exp(self.loc + 0.5 * jnp.exp(2.0 * self.log_scale))

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$(e^{\sigma^2} - 1)e^{2\mu + \sigma^2}$."""
        square = jnp.exp(2.0 * self.log_scale)
        return jnp.expm1(square) * jnp.exp(2.0 * self.loc + square)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$e^{\mu - \sigma^2}$."""
        return jnp.exp(self.loc - jnp.exp(2.0 * self.log_scale))

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\mu + \log\sigma + \frac12\log 2\pi e$."""
        return self.loc + self.log_scale + (HALF_LOG_TWO_PI + 0.5)

    def _log_of(self, noise: Array) -> Array:
        return self.loc + jnp.exp(self.log_scale) * noise

    def _noise_of(self, value: Array) -> Array:
        return log_product(value, -self.loc) * inverse_scale(self.log_scale)

    def _log_density(self, noise: Array, log_value: Array) -> Array:
        return -(0.5 * noise * noise + self.log_scale + log_value + HALF_LOG_TWO_PI)
