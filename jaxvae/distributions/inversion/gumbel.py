"""The Gumbel distribution."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import inverse_scale, log_zero

_EULER = float(np.euler_gamma)


@distribution
class Gumbel(Explicit, Factorised):
    r"""Independent largest values, $p(x) = e^{-z - e^{-z}}/s$ with $z = (x - \mu)/s$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = \mu - s\log(-\log u)$, the inverse CDF.

    Args:
        loc: mode $\mu$, any event shape.
        log_scale: $\log s$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Gumbel
        >>> round(float(Gumbel(jnp.array(0.0), jnp.array(0.0)).mean), 4)
        0.5772
    """

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]

    @classmethod
    def from_scale(cls, loc: Float[Array, "*event"], scale: Float[Array, "*event"]) -> "Gumbel":
        r"""From a positive scale $s$."""
        return cls(loc, jnp.log(scale))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.loc.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\mu - s\log(-\log u)$."""
        return self.loc - jnp.exp(self.log_scale) * jnp.log(-jnp.log(noise))

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\log s - z - e^{-z}$."""
        z = (value - self.loc) * inverse_scale(self.log_scale)
        reached = z > -jnp.inf
        z = jnp.where(reached, z, 0.0)
        return jnp.where(reached, -(self.log_scale + z + jnp.exp(-z)), log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$e^{-e^{-z}}$."""
        below = (self.loc - value) * inverse_scale(self.log_scale)
        # An infinite exponential times a zero density would be a NaN in the gradient.
        return jnp.exp(-jnp.exp(jnp.minimum(below, 80.0)))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\mu + \gamma s$ with Euler's constant $\gamma$."""
        return self.loc + _EULER * jnp.exp(self.log_scale)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$\pi^2 s^2/6$."""
        return (math.pi**2 / 6.0) * jnp.exp(2.0 * self.log_scale)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return self.loc

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log s + \gamma + 1$."""
        return self.log_scale + (_EULER + 1.0)
