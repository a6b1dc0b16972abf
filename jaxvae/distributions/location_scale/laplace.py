"""The Laplace distribution."""

import math

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import inverse_scale

_LOG_TWO = math.log(2.0)


@distribution
class Laplace(Explicit, Factorised):
    r"""Independent Laplace variables, $p(x) = e^{-|z|}/2s$ with $z = (x - \mu)/s$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = \mu + s\varepsilon(u)$ with the standard
    variable $\varepsilon = \log 2u$ below the median and $-\log 2(1 - u)$ above it.

    Args:
        loc: mean $\mu$, any event shape.
        log_scale: $\log s$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Laplace
        >>> float(Laplace.from_scale(jnp.array(0.0), jnp.array(0.5)).log_prob(jnp.array(1.0)))
        -2.0
    """

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]

    @classmethod
    def from_scale(cls, loc: Float[Array, "*event"], scale: Float[Array, "*event"]) -> "Laplace":
        r"""From a positive scale $s$."""
        return cls(loc, jnp.log(scale))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.loc.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\mu \pm s\log 2\min(u, 1 - u)$."""
        size = -jnp.log(2.0 * jnp.minimum(noise, 1.0 - noise))
        return self.loc + jnp.exp(self.log_scale) * jnp.where(noise < 0.5, -size, size)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-|z| - \log 2s$."""
        z = (value - self.loc) * inverse_scale(self.log_scale)
        return -(jnp.abs(z) + self.log_scale + _LOG_TWO)

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\frac12 e^z$ below the median, $1 - \frac12 e^{-z}$ above it."""
        z = (value - self.loc) * inverse_scale(self.log_scale)
        below = z < 0
        lower = 0.5 * jnp.exp(jnp.where(below, z, 0.0))
        return jnp.where(below, lower, 1.0 - 0.5 * jnp.exp(-jnp.where(below, 0.0, z)))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return self.loc

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$2s^2$."""
        return 2.0 * jnp.exp(2.0 * self.log_scale)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return self.loc

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$1 + \log 2s$."""
        return self.log_scale + (1.0 + _LOG_TWO)
