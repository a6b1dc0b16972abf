"""The reciprocal, or log-uniform, distribution."""

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
class Reciprocal(Explicit, Factorised):
    r"""Independent log-uniform variables, $p(x) = 1/(x\log(b/a))$ for $a \le x \le b$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = a(b/a)^u$, the inverse CDF.

    Args:
        log_low: $\log a$, any event shape.
        log_width: $\log w$ with $w = \log(b/a)$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Reciprocal
        >>> learning_rate = Reciprocal.from_bounds(jnp.array(1e-4), jnp.array(1e-2))
        >>> round(float(learning_rate.cdf(jnp.array(1e-3))), 5)
        0.5
    """

    support_parameters: ClassVar[tuple[str, ...]] = ("log_low", "log_width")

    log_low: Float[Array, "*event"]
    log_width: Float[Array, "*event"]

    @classmethod
    def from_bounds(cls, low: Float[Array, "*event"], high: Float[Array, "*event"]) -> "Reciprocal":
        r"""From positive bounds $a < b$."""
        return cls(jnp.log(low), jnp.log(jnp.log1p((high - low) / low)))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.log_low.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$e^{\log a + wu}$."""
        return jnp.exp(self.log_low + jnp.exp(self.log_width) * noise)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\log x - \log w$."""
        # The bounds that the logarithms were taken of are to be inside.
        (low, high), (of_low, of_high) = self.bounds, self.roundings
        inside = (value >= low - of_low) & (value <= high + of_high)
        x = jnp.where(inside, value, 1.0)
        return jnp.where(inside, -jnp.log(x) - self.log_width, log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log(x/a)/w$."""
        low, high = self.bounds
        inside = (value >= low) & (value <= high)
        distance = log_ratio(jnp.where(inside, value, 1.0), self.log_low)
        cdf = distance * jnp.exp(-self.log_width)
        beside = unless_nan(value, (value > high).astype(cdf.dtype))
        return jnp.where(inside, cdf, beside)

    @property
    def bounds(self) -> tuple[Float[Array, "*event"], Float[Array, "*event"]]:
        r"""$a$ and $b$."""
        return jnp.exp(self.log_low), jnp.exp(self.log_low + jnp.exp(self.log_width))

    @property
    def roundings(self) -> tuple[Float[Array, "*event"], Float[Array, "*event"]]:
        """How far the bounds may be off."""
        low, high = self.bounds
        of_log_low = 1.0 + jnp.abs(self.log_low)
        of_width = jnp.exp(self.log_width) * (1.0 + jnp.abs(self.log_width))
        return low * few_roundings(of_log_low), high * few_roundings(of_log_low + of_width)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$(b - a)/w$."""
        width = jnp.exp(self.log_width)
        return jnp.exp(self.log_low) * (jnp.expm1(width) / width)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$(b^2 - a^2)/2w - (b - a)^2/w^2$.

        As $ab\,\frac{\sinh h}h(\cosh h - \frac{\sinh h}h)$, $h = w/2$: nothing cancels for narrow
        bounds, where it is $w^2/12$ of the squared mean.
        """
        width = jnp.exp(self.log_width)
        h = 0.5 * width
        scale = jnp.exp(2.0 * self.log_low + width)
        return scale * (jnp.sinh(h) / h) * _cosh_less_sinhc(h)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$a$."""
        return jnp.exp(self.log_low)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log a + w/2 + \log w$."""
        return self.log_low + 0.5 * jnp.exp(self.log_width) + self.log_width


def _cosh_less_sinhc(h: Array) -> Array:
    r"""$\cosh h - \sinh(h)/h = \sum_n 2n\,h^{2n}/(2n + 1)!$."""
    small = h < 1.0
    near, far = jnp.where(small, h, 0.0), jnp.where(small, 1.0, h)
    square = near * near
    series = jnp.zeros_like(h)
    for n in range(8, 0, -1):
        series = (series + 2.0 * n / math.factorial(2 * n + 1)) * square
    return jnp.where(small, series, jnp.cosh(far) - jnp.sinh(far) / far)
