"""The Weibull distribution."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import log_ratio, log_zero, unless_nan

_EULER = float(np.euler_gamma)
# zeta(n) - 1 for n = 2, 3, ...
_ZETA_LESS_ONE = (
    6.4493406684822643647e-1,
    2.0205690315959428540e-1,
    8.2323233711138191516e-2,
    3.6927755143369926331e-2,
    1.7343061984449139714e-2,
    8.3492773819228268398e-3,
    4.0773561979443393787e-3,
    2.0083928260822144179e-3,
    9.9457512781808533715e-4,
    4.9418860411946455870e-4,
    2.4608655330804829864e-4,
    1.2271334757848914676e-4,
    6.1248135058704829259e-5,
    3.0588236307020493552e-5,
    1.5282259408651871732e-5,
    7.6371976378997622737e-6,
    3.8172932649998398565e-6,
)


@distribution
class Weibull(Explicit, Factorised):
    r"""Independent lifetimes, $p(x) = (k/s)z^{k - 1}e^{-z^k}$ with $z = x/s \ge 0$.

    Noise $u \sim U(0, 1)$, transformation $g(u) = s(-\log(1 - u))^{1/k}$, the inverse CDF.

    Args:
        log_scale: $\log s$, any event shape.
        log_concentration: $\log k$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Weibull
        >>> float(Weibull.from_scale(jnp.array(2.0), jnp.array(1.0)).mean)
        2.0
    """

    has_edge: ClassVar[bool] = True

    log_scale: Float[Array, "*event"]
    log_concentration: Float[Array, "*event"]

    @classmethod
    def from_scale(
        cls, scale: Float[Array, "*event"], concentration: Float[Array, "*event"]
    ) -> "Weibull":
        r"""From a positive scale $s$ and a positive concentration $k$."""
        return cls(jnp.log(scale), jnp.log(concentration))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.log_scale.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$s(-\log(1 - u))^{1/k}$."""
        log_growth = jnp.log(-jnp.log1p(-noise)) * jnp.exp(-self.log_concentration)
        return jnp.exp(self.log_scale) * jnp.exp(log_growth)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log(k/s) + (k - 1)\log z - z^k$; at zero its limit, infinite for $k < 1$."""
        inside = (value > 0) & (value < jnp.inf)
        log_z = self._log_z(value)
        concentration = jnp.exp(self.log_concentration)
        power = jnp.expm1(self.log_concentration) * log_z - jnp.exp(concentration * log_z)
        log_prob = self.log_concentration - self.log_scale + power
        pole = jnp.where(self.log_concentration < 0, jnp.full_like(log_z, jnp.inf), -jnp.inf)
        limit = jnp.where(self.log_concentration == 0, -self.log_scale, pole)
        return jnp.where(inside, log_prob, jnp.where(value == 0, limit, log_zero(value)))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$1 - e^{-z^k}$."""
        log_power = jnp.exp(self.log_concentration) * self._log_z(value)
        # An infinite power times a zero density would be a NaN in the gradient.
        cdf = -jnp.expm1(-jnp.exp(jnp.minimum(log_power, 80.0)))
        return unless_nan(value, jnp.where(value > 0, cdf, 0.0))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$s\,\Gamma(1 + 1/k)$."""
        return jnp.exp(self.log_scale + gammaln(1.0 + jnp.exp(-self.log_concentration)))

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$s^2(\Gamma(1 + 2/k) - \Gamma(1 + 1/k)^2)$."""
        return self.mean**2 * jnp.expm1(_log_second_moment(jnp.exp(-self.log_concentration)))

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$s(1 - 1/k)^{1/k}$, and 0 for $k \le 1$."""
        inner = self.log_concentration > 0
        log_k = jnp.where(inner, self.log_concentration, 1.0)
        log_z = jnp.log(-jnp.expm1(-log_k)) * jnp.exp(-log_k)
        return jnp.where(inner, jnp.exp(self.log_scale + log_z), 0.0)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\gamma(1 - 1/k) + \log(s/k) + 1$."""
        spread = 1.0 - _EULER * jnp.expm1(-self.log_concentration)
        return spread + self.log_scale - self.log_concentration

    def _log_z(self, value: Array) -> Array:
        inside = value > 0
        return jnp.where(inside, log_ratio(jnp.where(inside, value, 1.0), self.log_scale), 0.0)


def _log_second_moment(h: Array) -> Array:
    r"""$\log\Gamma(1 + 2h) - 2\log\Gamma(1 + h)$, which is $\pi^2h^2/6$ for small h.

    There by the series of $\log\Gamma(1 + h) + \log(1 + h)$, whose linear terms cancel exactly.
    """
    small = h < 0.25
    near, far = jnp.where(small, h, 0.0), jnp.where(small, 1.0, h)
    series = jnp.zeros_like(h)
    for order in range(len(_ZETA_LESS_ONE) + 1, 1, -1):
        term = (-1.0) ** order * (2.0**order - 2.0) / order * _ZETA_LESS_ONE[order - 2]
        series = series * near + term
    near_sum = jnp.log1p(near * near / (1.0 + 2.0 * near)) + near * near * series
    return jnp.where(small, near_sum, gammaln(1.0 + 2.0 * far) - 2.0 * gammaln(1.0 + far))
