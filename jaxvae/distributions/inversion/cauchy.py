"""The Cauchy distribution."""

import math

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import inverse_scale, log1p_square

_LOG_PI = math.log(math.pi)


@distribution
class Cauchy(Explicit, Factorised):
    r"""Independent Cauchy variables, $p(x) = 1/(\pi s(1 + z^2))$ with $z = (x - \mu)/s$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = \mu + s\tan(\pi(u - \frac12))$, the inverse CDF.
    No moment exists: the mean and the variance are NaN.

    Args:
        loc: median $\mu$, any event shape.
        log_scale: $\log s$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Cauchy
        >>> round(float(Cauchy(jnp.array(0.0), jnp.array(0.0)).cdf(jnp.array(1.0))), 6)
        0.75
    """

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]

    @classmethod
    def from_scale(cls, loc: Float[Array, "*event"], scale: Float[Array, "*event"]) -> "Cauchy":
        r"""From a positive scale $s$."""
        return cls(loc, jnp.log(scale))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.loc.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\mu + s\sin(\pi(u - \frac12))/\sin(\pi\min(u, 1 - u))$."""
        # The distance to the nearer end is exact; a tangent near its pole would have lost it.
        distance = jnp.minimum(noise, 1.0 - noise)
        standard = jnp.sin(math.pi * (noise - 0.5)) / jnp.sin(math.pi * distance)
        return self.loc + jnp.exp(self.log_scale) * standard

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\log\pi - \log s - \log(1 + z^2)$."""
        deviation = value - self.loc
        z = deviation * inverse_scale(self.log_scale)
        return -(log1p_square(z, deviation, self.log_scale) + self.log_scale + _LOG_PI)

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\frac12 + \arctan(z)/\pi$, as the angle of $(-z, 1)$: exact in the lower tail."""
        z = (value - self.loc) * inverse_scale(self.log_scale)
        return jnp.arctan2(jnp.ones_like(z), -z) / math.pi

    @property
    def mean(self) -> Float[Array, "*event"]:
        """NaN: it does not exist."""
        return jnp.full_like(self.loc, jnp.nan)

    @property
    def variance(self) -> Float[Array, "*event"]:
        """NaN: it does not exist."""
        return jnp.full_like(self.loc, jnp.nan)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return self.loc

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log 4\pi s$."""
        return self.log_scale + (_LOG_PI + math.log(4.0))
