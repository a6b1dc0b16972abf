"""The Rayleigh distribution."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import inverse_scale, log_zero, unless_nan


@distribution
class Rayleigh(Explicit, Factorised):
    r"""Independent lengths of plane Normal vectors, $p(x) = (x/s^2)\,e^{-x^2/2s^2}$ for $x > 0$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = s\sqrt{-2\log(1 - u)}$, the inverse CDF.

    Args:
        log_scale: $\log s$, any event shape; s is the standard deviation of the vector's
            coordinates.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Rayleigh
        >>> float(Rayleigh.from_scale(jnp.array(1.0)).mode)
        1.0
    """

    log_scale: Float[Array, "*event"]

    @classmethod
    def from_scale(cls, scale: Float[Array, "*event"]) -> "Rayleigh":
        r"""From a positive scale $s$."""
        return cls(jnp.log(scale))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.log_scale.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$s\sqrt{-2\log(1 - u)}$."""
        return jnp.exp(self.log_scale) * jnp.sqrt(-2.0 * jnp.log1p(-noise))

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log x - 2\log s - x^2/2s^2$."""
        inside = (value > 0) & (value < jnp.inf)
        log_x = jnp.log(jnp.where(inside, value, 1.0))
        z = jnp.where(inside, value, 0.0) * inverse_scale(self.log_scale)
        return jnp.where(inside, log_x - 2.0 * self.log_scale - 0.5 * z * z, log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$1 - e^{-x^2/2s^2}$."""
        z = jnp.where(value > 0, value, 0.0) * inverse_scale(self.log_scale)
        return unless_nan(value, -jnp.expm1(-0.5 * z * z))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$s\sqrt{\pi/2}$."""
        return math.sqrt(0.5 * math.pi) * jnp.exp(self.log_scale)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$(2 - \pi/2)s^2$."""
        return (2.0 - 0.5 * math.pi) * jnp.exp(2.0 * self.log_scale)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$s$."""
        return jnp.exp(self.log_scale)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$1 + \log(s/\sqrt 2) + \gamma/2$."""
        return self.log_scale + (1.0 - 0.5 * math.log(2.0) + 0.5 * float(np.euler_gamma))
