"""The exponential distribution."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import log_zero, unless_nan


@distribution
class Exponential(Explicit, Factorised):
    r"""Independent waiting times, $p(x) = \lambda e^{-\lambda x}$ for $x \ge 0$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = -\log(1 - u)/\lambda$, the inverse CDF.

    Args:
        log_rate: $\log\lambda$, any event shape.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Exponential
        >>> float(Exponential.from_rate(jnp.array(2.0)).mean)
        0.5
    """

    has_edge: ClassVar[bool] = True

    log_rate: Float[Array, "*event"]

    @classmethod
    def from_rate(cls, rate: Float[Array, "*event"]) -> "Exponential":
        r"""From a positive rate $\lambda$."""
        return cls(jnp.log(rate))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.log_rate.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\log(1 - u)/\lambda$."""
        return -jnp.log1p(-noise) * jnp.exp(-self.log_rate)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log\lambda - \lambda x$."""
        inside = value >= 0
        x = jnp.where(inside, value, 0.0)
        return jnp.where(inside, self.log_rate - jnp.exp(self.log_rate) * x, log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$1 - e^{-\lambda x}$."""
        cdf = -jnp.expm1(-jnp.exp(self.log_rate) * jnp.where(value >= 0, value, 0.0))
        return unless_nan(value, cdf)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$1/\lambda$."""
        return jnp.exp(-self.log_rate)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$1/\lambda^2$."""
        return jnp.exp(-2.0 * self.log_rate)

    @property
    def mode(self) -> Float[Array, "*event"]:
        """0."""
        return jnp.zeros_like(self.log_rate)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$1 - \log\lambda$."""
        return 1.0 - self.log_rate
