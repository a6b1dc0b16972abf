"""Student's t distribution."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import inverse_scale, log1p_square

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
# (2 - 2^(1 - 2n)) B_2n / 2n(2n - 1) for n = 1, 2, ...
_RATIO_SERIES = (1 / 8, -1 / 192, 1 / 640, -17 / 14336, 31 / 18432, -691 / 180224)


@distribution
class StudentT(Explicit, Factorised):
    r"""Independent t variables, $p(x) \propto (1 + z^2/\nu)^{-(\nu + 1)/2}$ with $z = (x - \mu)/s$.

    Noise two uniform variables u and v for each coordinate, transformation
    $g(u, v) = \mu + s\sqrt{\nu(u^{-2/\nu} - 1)}\cos\pi v$, explicit in the degrees of freedom too
    and Box and Muller's Normal as $\nu \to \infty$. The angle runs over half a turn, whose
    cosine is distributed as that of a whole one: reflected noise then changes the sign.
    The mean is NaN for $\nu \le 1$; the variance is infinite for $1 < \nu \le 2$ and NaN below.

    Args:
        loc: median $\mu$, any event shape.
        log_scale: $\log s$, the same shape.
        log_df: $\log\nu$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 2; Bailey (1994).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import StudentT
        >>> q = StudentT.from_scale(jnp.array(0.0), jnp.array(1.0), jnp.array(4.0))
        >>> round(float(q.log_prob(jnp.array(0.0))), 4)
        -0.9808
    """

    loc: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]
    log_df: Float[Array, "*event"]

    @classmethod
    def from_scale(
        cls, loc: Float[Array, "*event"], scale: Float[Array, "*event"], df: Float[Array, "*event"]
    ) -> "StudentT":
        r"""From a positive scale $s$ and positive degrees of freedom $\nu$."""
        return cls(loc, jnp.log(scale), jnp.log(df))

    @property
    def noise(self) -> StandardUniform:
        """Two uniform variables for each coordinate, along a leading axis."""
        return StandardUniform((2, *self.event_shape), self.loc.dtype)

    def transform(self, noise: Float[Array, "2 *event"]) -> Float[Array, "*event"]:
        r"""$\mu + s\sqrt{\nu(u^{-2/\nu} - 1)}\cos\pi v$."""
        energy = -2.0 * jnp.log(noise[0])
        excess = _half_log_expm1_ratio(energy * jnp.exp(-self.log_df))
        radius = jnp.sqrt(energy) * jnp.exp(excess)
        cosine = jnp.sin(math.pi * (0.5 - noise[1]))
        return self.loc + jnp.exp(self.log_scale) * (radius * cosine)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$c(\nu) - \frac12\log 2\pi - \log s - \frac12(\nu + 1)\log(1 + z^2/\nu)$.

        $c = \log\Gamma(\frac{\nu + 1}2) - \log\Gamma(\frac\nu2) - \frac12\log\frac\nu2$.
        """
        power = _power(value - self.loc, self.log_scale, self.log_df)
        return _log_gamma_ratio(self.log_df) - _HALF_LOG_TWO_PI - self.log_scale - power

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\mu$, and NaN for $\nu \le 1$."""
        return jnp.where(self.log_df > 0, self.loc, jnp.nan)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$s^2\nu/(\nu - 2)$, infinite for $1 < \nu \le 2$ and NaN below."""
        excess = self.log_df - math.log(2.0)
        finite = excess > 0
        growth = -1.0 / jnp.expm1(-jnp.where(finite, excess, 1.0))
        variance = jnp.exp(2.0 * self.log_scale) * growth
        return jnp.where(finite, variance, jnp.where(self.log_df > 0, jnp.inf, jnp.nan))

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return self.loc

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log s + \frac12\log 2\pi e + \frac1{2\nu} - c + (1 + \frac1\nu)\,dc/d\log\nu$."""
        ratio, slope = jax.jvp(_log_gamma_ratio, (self.log_df,), (jnp.ones_like(self.log_df),))
        inverse = jnp.exp(-self.log_df)
        digammas = 0.5 * inverse + (1.0 + inverse) * slope
        return self.log_scale + (_HALF_LOG_TWO_PI + 0.5) + (digammas - ratio)


def _log_gamma_ratio(log_df: Array) -> Array:
    r"""$c(y) = \log\Gamma(y + \frac12) - \log\Gamma(y) - \frac12\log y$ at $y = \nu/2$.

    $c(y) - c(y + 1) = \frac12\log(1 - 1/(2y + 1)^2)$ lifts y by eight, where the asymptotic series
    is exact to rounding. All terms have one sign, so small and large values keep their digits.
    """
    df = jnp.exp(log_df)
    missing = jnp.zeros_like(df)
    for lift in range(1, 8):
        part = 1.0 / (df + (2 * lift + 1.0)) ** 2
        missing = missing + part - missing * part
    # 1 - 1/(df + 1)^2 by its factors, which is 2 df for few degrees of freedom.
    first = jnp.log1p(1.0 / (df + 1.0)) - jnp.log1p(jnp.exp(-log_df))
    inverse = 1.0 / (0.5 * df + 8.0)
    series = jnp.zeros_like(df)
    for coefficient in reversed(_RATIO_SERIES):
        series = series * (inverse * inverse) + coefficient
    return 0.5 * (first + jnp.log1p(-missing)) - inverse * series


@jax.custom_jvp
def _power(deviation: Array, log_scale: Array, log_df: Array) -> Array:
    r"""$\frac12(\nu + 1)\log(1 + z^2/\nu)$.

    The derivative is given by hand: that in $\nu$ is of size $1/\nu$, while the automatic one is
    the difference of two of size one.
    """
    return 0.5 * (jnp.exp(log_df) + 1.0) * _log_growth(deviation, log_scale, log_df)


def _log_growth(deviation: Array, log_scale: Array, log_df: Array) -> Array:
    # Two exponentials: the sum of the logarithms would have been rounded before its own.
    ratio = deviation * inverse_scale(log_scale) * jnp.exp(-0.5 * log_df)
    return log1p_square(ratio, deviation, log_scale + 0.5 * log_df)


@_power.defjvp
def _power_jvp(primals, tangents):
    deviation, log_scale, log_df = primals
    deviation_dot, log_scale_dot, log_df_dot = tangents
    df = jnp.exp(log_df)
    log_growth = _log_growth(deviation, log_scale, log_df)
    share = -jnp.expm1(-log_growth)  # q/(1 + q) with q = z^2/df
    inner = share < 0.5
    z = jnp.where(inner, deviation, 0.0) * inverse_scale(log_scale)
    near = (df + 1.0) / df * jnp.exp(-log_growth) * z * inverse_scale(log_scale)
    far = (df + 1.0) * share / jnp.where(inner, 1.0, deviation)
    slope_df = 0.5 * (df * _less_its_share(log_growth) - share)
    tangent = (
        jnp.where(inner, near, far) * deviation_dot
        - (df + 1.0) * share * log_scale_dot
        + slope_df * log_df_dot
    )
    return 0.5 * (df + 1.0) * log_growth, tangent


def _less_its_share(x: Array) -> Array:
    r"""$x - (1 - e^{-x}) = x^2/2 - x^3/6 + \dots$ for $x \ge 0$."""
    small = x < 0.5
    near, far = jnp.where(small, x, 0.0), jnp.where(small, 1.0, x)
    series = jnp.zeros_like(x)
    for n in range(13, 1, -1):
        series = (series * near) + (-1.0) ** n / math.factorial(n)
    return jnp.where(small, near * near * series, far + jnp.expm1(-far))


@jax.custom_jvp
def _half_log_expm1_ratio(a: Array) -> Array:
    r"""$\frac12\log((e^a - 1)/a)$ for $a > 0$, of which the derivative is given by hand."""
    return 0.5 * (a + jnp.log(-jnp.expm1(-a) / a))


@_half_log_expm1_ratio.defjvp
def _half_log_expm1_ratio_jvp(primals, tangents):
    (a,), (a_dot,) = primals, tangents
    small = a < 0.5
    near, far = jnp.where(small, a, 0.0), jnp.where(small, 1.0, a)
    series = jnp.zeros_like(a)
    # Bernoulli's numbers over factorials: the derivative is 1/4 + a/24 - ...
    for term in (1 / 47900160, -1 / 1209600, 1 / 30240, -1 / 720, 1 / 12):
        series = series * near * near + term
    slope = jnp.where(small, 0.5 + near * series, -1.0 / jnp.expm1(-far) - 1.0 / far)
    return _half_log_expm1_ratio(a), 0.5 * slope * a_dot
