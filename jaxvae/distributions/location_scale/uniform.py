"""The uniform distribution."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import few_roundings, log_zero


@distribution
class Uniform(Explicit, Factorised):
    r"""Independent uniform variables, $p(x) = 1/w$ for $a \le x \le a + w$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = a + wu$. The upper bound is known to a few
    roundings, and what is within them counts as inside.

    Args:
        low: $a$, any event shape.
        log_width: $\log w$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Uniform
        >>> float(Uniform.from_bounds(jnp.array(1.0), jnp.array(2.0)).mean)
        1.5
    """

    support_parameters: ClassVar[tuple[str, ...]] = ("low", "log_width")

    low: Float[Array, "*event"]
    log_width: Float[Array, "*event"]

    @classmethod
    def from_bounds(cls, low: Float[Array, "*event"], high: Float[Array, "*event"]) -> "Uniform":
        r"""From bounds, the lower one first."""
        return cls(low, jnp.log(high - low))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.low.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$a + wu$."""
        return self.low + jnp.exp(self.log_width) * noise

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\log w$."""
        inside = (value >= self.low) & (value <= self.high + self.rounding)
        return jnp.where(inside, -self.log_width, log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$(x - a)/w$."""
        t = (value - self.low) * jnp.exp(-self.log_width)
        return jnp.where(t < 0, 0.0, jnp.where(t > 1, 1.0, t))

    @property
    def high(self) -> Float[Array, "*event"]:
        r"""$a + w$."""
        return self.low + jnp.exp(self.log_width)

    @property
    def rounding(self) -> Float[Array, "*event"]:
        """How far the upper bound may be off."""
        width = jnp.exp(self.log_width) * (1.0 + jnp.abs(self.log_width))
        return few_roundings(jnp.abs(self.low) + width)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$a + w/2$."""
        return self.low + 0.5 * jnp.exp(self.log_width)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$w^2/12$."""
        return jnp.exp(2.0 * self.log_width) / 12.0

    @property
    def mode(self) -> Float[Array, "*event"]:
        """The centre, as every point of the support has the largest density."""
        return self.mean

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log w$."""
        return self.log_width
