"""The triangular distribution."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import log_zero, unless_nan

_LOG_TWO = math.log(2.0)


@distribution
class Triangular(Explicit, Factorised):
    r"""Independent triangular variables on $[a, a + w]$ with the mode at $a + wm$.

    With $t = (x - a)/w$, $p(x) = 2t/wm$ below the mode and $2(1 - t)/w(1 - m)$ above it.
    Noise $u \sim U(0, 1)$, transformation $g(u) = a + w\sqrt{um}$ for $u < m$ and
    $a + w(1 - \sqrt{(1 - u)(1 - m)})$ beyond. Near the upper bound the log-density is as accurate
    as the bound $a + e^{\log w}$ itself.

    Args:
        low: $a$, any event shape.
        log_width: $\log w$, the same shape.
        logit_mode: $\log(m/(1 - m))$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Triangular
        >>> low, mode, high = jnp.array(0.0), jnp.array(0.25), jnp.array(1.0)
        >>> float(Triangular.from_bounds(low, mode, high).cdf(mode))
        0.25
    """

    low: Float[Array, "*event"]
    log_width: Float[Array, "*event"]
    logit_mode: Float[Array, "*event"]

    @classmethod
    def from_bounds(
        cls,
        low: Float[Array, "*event"],
        mode: Float[Array, "*event"],
        high: Float[Array, "*event"],
    ) -> "Triangular":
        r"""From bounds and a mode strictly between them."""
        return cls(low, jnp.log(high - low), jnp.log((mode - low) / (high - mode)))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.low.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$a + w\sqrt{um}$ or $a + w(1 - \sqrt{(1 - u)(1 - m)})$."""
        # Roots of m by its logarithm: a root's derivative is infinite where m has underflown.
        log_m, log_rest = self._log_parts()
        lower = jnp.sqrt(noise) * jnp.exp(0.5 * log_m)
        upper = 1.0 - jnp.sqrt(1.0 - noise) * jnp.exp(0.5 * log_rest)
        t = jnp.where(noise < jax.nn.sigmoid(self.logit_mode), lower, upper)
        return self.low + jnp.exp(self.log_width) * t

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log 2t/wm$ or $\log 2(1 - t)/w(1 - m)$."""
        _, log_t, log_peak = self._side(value)
        inside = (value > self.low) & (value < self.low + jnp.exp(self.log_width))
        return jnp.where(inside, _LOG_TWO + (log_t - log_peak) - self.log_width, log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$t^2/m$ or $1 - (1 - t)^2/(1 - m)$."""
        below, log_t, log_peak = self._side(value)
        area = jnp.exp(2.0 * log_t - log_peak)
        inner = jnp.where(below, area, 1.0 - area)
        high = self.low + jnp.exp(self.log_width)
        cdf = jnp.where(value <= self.low, 0.0, jnp.where(value >= high, 1.0, inner))
        return unless_nan(value, cdf)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$a + w(1 + m)/3$."""
        m = jax.nn.sigmoid(self.logit_mode)
        return self.low + jnp.exp(self.log_width) * ((1.0 + m) / 3.0)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$w^2(1 - m(1 - m))/18$."""
        product = jax.nn.sigmoid(self.logit_mode) * jax.nn.sigmoid(-self.logit_mode)
        return jnp.exp(2.0 * self.log_width) * ((1.0 - product) / 18.0)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$a + wm$."""
        return self.low + jnp.exp(self.log_width) * jax.nn.sigmoid(self.logit_mode)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\frac12 + \log(w/2)$, whatever the mode."""
        return self.log_width + (0.5 - _LOG_TWO)

    def _log_parts(self) -> tuple[Array, Array]:
        return jax.nn.log_sigmoid(self.logit_mode), jax.nn.log_sigmoid(-self.logit_mode)

    def _side(self, value: Array) -> tuple[Array, Array, Array]:
        """Whether a value is below the mode, the log-distance to its end, and that of the mode."""
        log_m, log_rest = self._log_parts()
        width = jnp.exp(self.log_width)
        to_low = value - self.low
        below = to_low < width * jax.nn.sigmoid(self.logit_mode)
        distance = jnp.where(below, to_low, (self.low - value) + width)
        log_t = jnp.log(jnp.where(distance > 0, distance, width)) - self.log_width
        return below, log_t, jnp.where(below, log_m, log_rest)
