"""The diagonal Normal distribution."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar, Shape
from jaxvae.distributions._pytree import distribution

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@distribution
class Normal:
    r"""Independent Normal variables, $\prod_i N(x_i; \mu_i, \sigma_i^2)$.

    Noise $\varepsilon \sim N(0, I)$, transformation $g(\varepsilon) = \mu + \sigma\varepsilon$.
    The log-scale is the stored parameter, as a network's output needs no constraint then and no
    scale is too small: nothing here squares or divides by $\sigma$.

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

    reparameterised: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check.same_shape("Normal", loc=self.loc, log_scale=self.log_scale)

    @classmethod
    def standard(cls, shape: Shape) -> "Normal":
        """N(0, I) over events of the given shape."""
        return cls(jnp.zeros(shape), jnp.zeros(shape))

    @classmethod
    def from_scale(cls, loc: Float[Array, "*event"], scale: Float[Array, "*event"]) -> "Normal":
        r"""N($\mu$, $\sigma^2$) from a positive scale."""
        return cls(loc, jnp.log(scale))

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.loc.shape)

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

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        r"""$\mu + \sigma\varepsilon$."""
        return self.sample_and_log_prob(key)[0]

    def log_prob(self, value: Float[Array, "*event"]) -> Scalar:
        r"""$-\sum_i \frac12 \varepsilon_i^2 + \log\sigma_i + \frac12\log 2\pi$."""
        _check.event_shape("Normal.log_prob", self.event_shape, value.shape)
        return self._log_prob_of_noise((value - self.loc) * jnp.exp(-self.log_scale))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, "*event"], Scalar]:
        """One event and its log-density, from the noise rather than by dividing it back out."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + self.scale * noise, self._log_prob_of_noise(noise)

    def entropy(self) -> Scalar:
        r"""$\sum_i \log\sigma_i + \frac12\log 2\pi e$."""
        return jnp.sum(self.log_scale + (_HALF_LOG_TWO_PI + 0.5))

    def _log_prob_of_noise(self, noise: Float[Array, "*event"]) -> Scalar:
        return -jnp.sum(0.5 * noise * noise + self.log_scale + _HALF_LOG_TWO_PI)
