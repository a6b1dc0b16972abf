"""The F distribution."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betainc
from jaxtyping import Float

from jaxvae._types import PRNGKey
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Factorised
from jaxvae.distributions.composition._log_gamma import (
    exp_positive,
    gamma_term,
    sample_log_gamma,
)
from jaxvae.distributions.numerics.edges import log_zero, unless_nan
from jaxvae.distributions.numerics.special import (
    HALF_LOG_TWO_PI,
    stirling_remainder,
    stirling_slope,
)

_LOG_TWO = math.log(2.0)


@distribution
class F(Factorised):
    r"""Independent ratios of the means of $\nu_1$ and $\nu_2$ squared Normal variables.

    $x = (X_1/\nu_1)/(X_2/\nu_2)$ with chi-squared $X_i$. With $a = \nu_1/2$, $b = \nu_2/2$ and
    $t = ax/(ax + b)$ it is $p(x) = t^a(1 - t)^b/(xB(a, b))$ for $x > 0$. No explicit
    transformation exists: samples are differentiated with the distribution functions of $X_1$ and
    $X_2$ held fixed (implicit reparameterisation). For a fixed key they jump as the degrees change,
    as rejection does: common random numbers are not smooth in them.

    Args:
        log_df1: $\log\nu_1$, degrees of freedom of the numerator, any event shape.
        log_df2: $\log\nu_2$, of the denominator, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 3; Figurnov, Mohamed and Mnih (2018).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import F
        >>> round(float(F.from_df(jnp.array([3.0]), jnp.array([4.0])).mean[0]), 5)
        2.0
    """

    log_df1: Float[Array, "*event"]
    log_df2: Float[Array, "*event"]

    @classmethod
    def from_df(cls, df1: Float[Array, "*event"], df2: Float[Array, "*event"]) -> "F":
        """From positive degrees of freedom."""
        return cls(jnp.log(df1), jnp.log(df2))

    @property
    def reparameterised(self) -> bool:
        """True: samples have implicit derivatives in both parameters."""
        return True

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """One event, of positive normal numbers."""
        log_gammas = sample_log_gamma(key, jnp.stack([self.log_df1, self.log_df2]) - _LOG_TWO)
        return exp_positive((log_gammas[0] - log_gammas[1]) - (self.log_df1 - self.log_df2))

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$a\log t + b\log(1 - t) - \log x - \log B(a, b)$, as deviations from the mean of t."""
        inside = (value > 0) & (value < jnp.inf)
        x = jnp.where(inside, value, 1.0)
        log_halves = jnp.stack([self.log_df1, self.log_df2]) - _LOG_TWO
        halves = jnp.exp(log_halves)
        whole = halves[0] + halves[1]
        parts = gamma_term(halves, log_halves, self._deviations(x))
        density = jnp.sum(parts, axis=0) - gamma_term(whole, jnp.log(whole), jnp.zeros_like(whole))
        beside = self.log_df1 - jnp.asarray(_LOG_TWO, self.log_df1.dtype)
        at_zero = jnp.where(beside == 0, 0.0, -jnp.sign(beside) * jnp.inf)
        outside = jnp.where(value == 0, at_zero, log_zero(value))
        return jnp.where(inside, density - jnp.log(x), outside)

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""The incomplete Beta function $I_t(a, b)$; in float32 to about $10^{-6}(a + b)$."""
        x = jnp.maximum(value, 0.0)
        positive = x > 0
        logit = self.log_df1 - self.log_df2 + jnp.log(jnp.where(positive, x, 1.0))
        halves = 0.5 * jnp.exp(self.log_df1), 0.5 * jnp.exp(self.log_df2)
        cdf = jnp.where(positive, betainc(*halves, jax.nn.sigmoid(logit)), 0.0)
        return unless_nan(value, cdf)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\nu_2/(\nu_2 - 2)$, infinite for $\nu_2 \le 2$."""
        return jnp.where(self._exceeds(2), self._over_less(2), jnp.inf)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$2\nu_2^2(\nu_1 + \nu_2 - 2)/(\nu_1(\nu_2 - 2)^2(\nu_2 - 4))$ for $\nu_2 > 4$.

        Infinite for $2 < \nu_2 \le 4$; NaN below, where the mean is infinite.
        """
        # (nu1 + nu2 - 2)/(nu1 (nu2 - 4)), each over nu2.
        sizes = jnp.exp(-self.log_df2) + jnp.exp(-self.log_df1) / self._over_less(2)
        finite = 2.0 * self._over_less(2) ** 2 * self._over_less(4) * sizes
        infinite = jnp.where(self._exceeds(2), jnp.inf, jnp.nan)
        return jnp.where(self._exceeds(4), finite, infinite)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$(\nu_1 - 2)\nu_2/(\nu_1(\nu_2 + 2))$, or 0 for $\nu_1 \le 2$."""
        first = jnp.maximum(-jnp.expm1(_LOG_TWO - self.log_df1), 0.0)
        return first / (1.0 + 2.0 * jnp.exp(-self.log_df2))

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log\frac ba + \log B(a, b) + (1 - a)\psi(a) - (1 + b)\psi(b) + (a + b)\psi(a + b)$."""
        log_halves = jnp.stack([self.log_df1, self.log_df2]) - _LOG_TWO
        halves = jnp.exp(log_halves)
        whole = halves[0] + halves[1]

        def part(x: Array, log_x: Array) -> Array:
            return stirling_remainder(x) - 0.5 * log_x - x * stirling_slope(x)

        parts = jnp.sum(part(halves, log_halves), axis=0) - part(whole, jnp.log(whole))
        # The digammas of few degrees are large: their difference comes first.
        digammas = stirling_slope(halves) - 0.5 / halves
        return parts + (digammas[0] - digammas[1]) + (HALF_LOG_TWO_PI + 0.5)

    def _deviations(self, x: Array) -> Array:
        r"""$\log(t/m)$ and $\log((1 - t)/(1 - m))$ with $m = a/(a + b)$, which vanish at 1."""
        difference = self.log_df1 - self.log_df2
        m, complement = jax.nn.sigmoid(difference), jax.nn.sigmoid(-difference)
        low, high = x < 0.5, x > 2.0
        below, above = jnp.where(low, x, 0.5), jnp.where(high, x, 2.0)
        middle = jnp.where(low | high, 1.0, x)
        small = m * below + complement
        first_low = jnp.log(below) - jnp.log(small)
        first_middle = -jnp.log1p(complement * (1.0 - middle) / middle)
        first_high = -jnp.log(m + complement / above)
        second_rest = -jnp.log1p(m * (jnp.where(low, 1.0, x) - 1.0))
        first = jnp.where(low, first_low, jnp.where(high, first_high, first_middle))
        return jnp.stack([first, jnp.where(low, -jnp.log(small), second_rest)])

    def _exceeds(self, number: int) -> Array:
        return self.log_df2 > jnp.asarray(math.log(number), self.log_df2.dtype)

    def _over_less(self, number: int) -> Array:
        r"""$\nu_2/(\nu_2 - k)$ where that is positive, else 1."""
        exceeds = self._exceeds(number)
        exponent = jnp.where(exceeds, math.log(number) - self.log_df2, -jnp.inf)
        return -1.0 / jnp.expm1(exponent)
