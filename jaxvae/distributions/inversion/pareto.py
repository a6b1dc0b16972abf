"""The Pareto distribution."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import few_roundings, log_ratio, log_zero, unless_nan


@distribution
class Pareto(Explicit, Factorised):
    r"""Independent sizes above a minimum, $p(x) = a m^a/x^{a + 1}$ for $x \ge m$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = m(1 - u)^{-1/a}$, the inverse CDF.
    The mean is infinite for $a \le 1$ and the variance for $a \le 2$.

    Args:
        log_scale: $\log m$, the logarithm of the minimum, any event shape.
        log_concentration: $\log a$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Pareto
        >>> float(Pareto.from_scale(jnp.array(1.0), jnp.array(0.5)).mean)
        inf
    """

    support_parameters: ClassVar[tuple[str, ...]] = ("log_scale",)

    log_scale: Float[Array, "*event"]
    log_concentration: Float[Array, "*event"]

    @classmethod
    def from_scale(
        cls, scale: Float[Array, "*event"], concentration: Float[Array, "*event"]
    ) -> "Pareto":
        r"""From a positive minimum $m$ and a positive concentration $a$."""
        return cls(jnp.log(scale), jnp.log(concentration))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.log_scale.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$m(1 - u)^{-1/a}$."""
        log_growth = -jnp.log1p(-noise) * jnp.exp(-self.log_concentration)
        return jnp.exp(self.log_scale) * jnp.exp(log_growth)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log a - a\log(x/m) - \log x$."""
        # The minimum that the logarithm was taken of is to be inside.
        minimum = jnp.exp(self.log_scale)
        rounding = minimum * few_roundings(1.0 + jnp.abs(self.log_scale))
        inside = value >= minimum - rounding
        x = jnp.where(inside, value, 1.0)
        tail = jnp.exp(self.log_concentration) * log_ratio(x, self.log_scale)
        return jnp.where(inside, self.log_concentration - tail - jnp.log(x), log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$1 - (m/x)^a$."""
        inside = value > jnp.exp(self.log_scale)
        log_growth = log_ratio(jnp.where(inside, value, 1.0), self.log_scale)
        cdf = -jnp.expm1(-jnp.exp(self.log_concentration) * log_growth)
        return unless_nan(value, jnp.where(inside, cdf, 0.0))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$am/(a - 1)$, infinite for $a \le 1$."""
        exists = self.log_concentration > 0
        log_a = jnp.where(exists, self.log_concentration, 1.0)
        return jnp.where(exists, -jnp.exp(self.log_scale) / jnp.expm1(-log_a), jnp.inf)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$am^2/((a - 1)^2(a - 2))$, infinite for $a \le 2$."""
        # a - 1 and a - 2 from log a, so that neither has lost its digits where it is small.
        excess = self.log_concentration - math.log(2.0)
        exists = excess > 0
        excess = jnp.where(exists, excess, 1.0)
        less_one = jnp.expm1(jnp.where(exists, self.log_concentration, 1.0))
        squared_scale = jnp.exp(2.0 * self.log_scale)
        return jnp.where(
            exists, -squared_scale / (less_one * less_one * jnp.expm1(-excess)), jnp.inf
        )

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$m$."""
        return jnp.exp(self.log_scale)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$1 + \log(m/a) + 1/a$."""
        return 1.0 + self.log_scale - self.log_concentration + jnp.exp(-self.log_concentration)
