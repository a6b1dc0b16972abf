"""The Normal distribution between two bounds."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.location_scale import _interval
from jaxvae.distributions.location_scale._interval import Interval, Moments
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import inverse_scale, log_zero, unless_nan


@distribution
class TruncatedNormal(Explicit, Factorised):
    r"""Independent Normal variables, given that each is between its bounds.

    $p(x) = \phi(z)/\sigma[\Phi(\beta) - \Phi(\alpha)]$ for $a \le x \le b$, with
    $z = (x - \mu)/\sigma$ and $\alpha$, $\beta$ the same of the bounds.
    Noise $u \sim U(0, 1)$, transformation the inverse distribution function
    $g(u) = \mu + \sigma\Phi^{-1}(\Phi(\alpha) + u[\Phi(\beta) - \Phi(\alpha)])$, increasing in u.

    A family of its own rather than a truncation of anything with a distribution function: that
    function is 1 throughout the upper tail, and its differences lose all digits in narrow
    intervals. Here everything is measured from the point of $[a, b]$ that is closest to $\mu$, so
    that the bounds may be 1e4 standard deviations away, or 1e-4 of one apart.
    Either bound may be infinite; where $a \ge b$ everything is NaN.

    Args:
        loc: $\mu$, mean of the Normal distribution before truncation, any event shape.
        log_scale: $\log\sigma$ of the same Normal, the same shape.
        low: lower bound $a$, the same shape.
        high: upper bound $b$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 1; Robert (1995).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import TruncatedNormal
        >>> far = TruncatedNormal(*map(jnp.array, (-1e4, 0.0, 0.0, jnp.inf)))
        >>> round(float(far.mean), 8)
        0.0001
    """

    support_parameters: ClassVar[tuple[str, ...]] = ("low", "high")

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]
    low: Float[Array, "*event"]
    high: Float[Array, "*event"]

    @classmethod
    def from_scale(
        cls,
        loc: Float[Array, "*event"],
        scale: Float[Array, "*event"],
        low: Float[Array, "*event"],
        high: Float[Array, "*event"],
    ) -> "TruncatedNormal":
        r"""From a positive scale $\sigma$."""
        return cls(loc, jnp.log(scale), low, high)

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.loc.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\mu + \sigma\Phi^{-1}(\Phi(\alpha) + u[\Phi(\beta) - \Phi(\alpha)])$."""
        at = self._interval()
        lower = jnp.where(at.sign > 0, noise, 1.0 - noise)
        upper = jnp.where(at.sign > 0, 1.0 - noise, noise)
        t = at.sign * _interval.quantile(lower, upper, at.rate, at.below, at.above)
        x = at.anchor + jnp.exp(self.log_scale) * t
        # Rounding may not carry an event out of its support.
        return x + lax.stop_gradient(jnp.clip(x, self.low, self.high) - x)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$-\frac12 z^2 - \log\sigma - \log\int_\alpha^\beta e^{-s^2/2}ds$."""
        at = self._interval()
        inside = (value >= self.low) & (value <= self.high)
        t = self._offset(at, jnp.where(inside, value, at.anchor))
        log_mass = _interval.log_mass(at.rate, at.below, at.above)
        density = -_interval.energy(at.rate, t) - log_mass - self.log_scale
        return jnp.where(inside, density, jnp.where(self.low < self.high, log_zero(value), jnp.nan))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$[\Phi(z) - \Phi(\alpha)]/[\Phi(\beta) - \Phi(\alpha)]$.

        Its relative error is what rounding x would cause, for values down to 1e-34.
        """
        at = self._interval()
        inside = (value > self.low) & (value < self.high)
        t = self._offset(at, jnp.where(inside, value, at.anchor))
        below, above = _interval.tails(t, at.rate, at.below, at.above)
        outside = jnp.where(value >= self.high, 1.0, 0.0).astype(t.dtype)
        outside = unless_nan(value, jnp.where(self.low < self.high, outside, jnp.nan))
        return jnp.where(inside, jnp.where(at.sign > 0, below, above), outside)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\mu + \sigma[\phi(\alpha) - \phi(\beta)]/[\Phi(\beta) - \Phi(\alpha)]$."""
        at, moments = self._moments()
        return at.anchor + jnp.exp(self.log_scale) * at.sign * moments.mean

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$\sigma^2(1 + [\alpha\phi(\alpha) - \beta\phi(\beta)]/Z - m^2)$.

        $Z = \Phi(\beta) - \Phi(\alpha)$ and $m = [\phi(\alpha) - \phi(\beta)]/Z$.
        """
        # The root first: the square of a tiny scale alone would vanish.
        return jnp.square(jnp.exp(self.log_scale) * jnp.sqrt(self._moments()[1].variance))

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""The point of $[a, b]$ that is closest to $\mu$."""
        inside = jnp.clip(self.loc, self.low, self.high)
        return jnp.where(self.low < self.high, inside, jnp.nan)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log\sigma + \log\sqrt{2\pi}Z + \frac12 E[z^2]$."""
        at, moments = self._moments()
        return self.log_scale + _interval.log_mass(at.rate, at.below, at.above) + moments.energy

    def _interval(self) -> Interval:
        return _interval.standardised(self.loc, self.log_scale, self.low, self.high)

    def _moments(self) -> tuple[Interval, Moments]:
        at = self._interval()
        return at, _interval.moments(at.rate, at.below, at.above)

    def _offset(self, at: Interval, value: Array) -> Array:
        return at.sign * (value - at.anchor) * inverse_scale(self.log_scale)
