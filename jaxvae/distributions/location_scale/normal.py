"""The diagonal Normal distribution."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Float

from jaxvae._types import Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardNormal
from jaxvae.distributions.numerics.edges import inverse_scale

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@distribution
class Normal(Explicit, Factorised):
    r"""Independent Normal variables, $\prod_i N(x_i; \mu_i, \sigma_i^2)$.

    Noise $\varepsilon \sim N(0, I)$, transformation $g(\varepsilon) = \mu + \sigma\varepsilon$.
    The log-scale is the stored parameter, as a network's output needs no constraint then and no
    scale has to be kept from being too small: nothing here squares or divides by $\sigma$. Where
    $1/\sigma$ is no number any more, below $\log\sigma = -87$ in float32 and $-708$ in float64,
    distances are measured in that smallest scale.

    Args:
        loc: mean $\mu$, any event shape.
        log_scale: $\log\sigma$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: AE + VAE notes, "Gaussian posteriors"; thesis draft, eq. 4.12.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Normal
        >>> round(float(Normal.standard((2,)).log_prob(jnp.zeros(2))), 4)
        -1.8379
    """

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]

    @classmethod
    def standard(cls, shape: Shape) -> "Normal":
        """N(0, I) over events of the given shape."""
        return cls(jnp.zeros(shape), jnp.zeros(shape))

    @classmethod
    def from_scale(cls, loc: Float[Array, "*event"], scale: Float[Array, "*event"]) -> "Normal":
        r"""N($\mu$, $\sigma^2$) from a positive scale."""
        return cls(loc, jnp.log(scale))

    @property
    def noise(self) -> StandardNormal:
        """One standard Normal variable for each coordinate."""
        return StandardNormal(self.event_shape, self.loc.dtype)

    @property
    def scale(self) -> Float[Array, "*event"]:
        r"""Standard deviation $\sigma$."""
        return jnp.exp(self.log_scale)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return self.loc

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return self.loc

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$\sigma^2$."""
        return jnp.exp(2.0 * self.log_scale)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\mu + \sigma\varepsilon$."""
        return self.loc + self.scale * noise

    def transform_and_log_prob(
        self, noise: Float[Array, "*event"]
    ) -> tuple[Float[Array, "*event"], Scalar]:
        """The event and its log-density, from the noise rather than by dividing it back out."""
        return self.transform(noise), jnp.sum(self._log_prob_of_noise(noise))

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\frac12 \varepsilon^2 - \log\sigma - \frac12\log 2\pi$."""
        return self._log_prob_of_noise((value - self.loc) * inverse_scale(self.log_scale))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\Phi((x - \mu)/\sigma)$."""
        return ndtr((value - self.loc) * inverse_scale(self.log_scale))

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log\sigma + \frac12\log 2\pi e$."""
        return self.log_scale + (_HALF_LOG_TWO_PI + 0.5)

    def _log_prob_of_noise(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        return -(0.5 * noise * noise + self.log_scale + _HALF_LOG_TWO_PI)
