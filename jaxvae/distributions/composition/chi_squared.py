"""The chi-squared distribution."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammainc
from jaxtyping import Float

from jaxvae._types import PRNGKey
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Factorised
from jaxvae.distributions.composition._log_gamma import (
    exp_positive,
    gamma_entropy,
    gamma_term,
    log_product,
    sample_log_gamma,
)
from jaxvae.distributions.numerics.edges import log_zero

_LOG_TWO = math.log(2.0)


@distribution
class ChiSquared(Factorised):
    r"""Independent sums of $\nu$ squared standard Normal variables, $\nu > 0$.

    $p(x) = x^{\nu/2 - 1}e^{-x/2}/(2^{\nu/2}\Gamma(\nu/2))$ for $x > 0$: a ``Gamma`` variable of
    concentration $\nu/2$ and rate $\frac12$. No explicit transformation exists for a general
    $\nu$: samples are differentiated with their distribution function held fixed (implicit
    reparameterisation). For a fixed key they jump as $\nu$ changes, as rejection does: common
    random numbers are not smooth in it.

    Args:
        log_df: $\log\nu$, the degrees of freedom, any event shape.

    Reference: Bath report, section 4.2.5, family 3; Figurnov, Mohamed and Mnih (2018).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import ChiSquared
        >>> round(float(ChiSquared.from_df(jnp.array([3.0])).mean[0]), 5)
        3.0
    """

    log_df: Float[Array, "*event"]

    @classmethod
    def from_df(cls, df: Float[Array, "*event"]) -> "ChiSquared":
        """From positive degrees of freedom."""
        return cls(jnp.log(df))

    @property
    def reparameterised(self) -> bool:
        """True: samples have implicit derivatives."""
        return True

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """One event, of positive normal numbers."""
        return exp_positive(sample_log_gamma(key, self._log_concentration) + _LOG_TWO)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$(\nu/2 - 1)\log x - x/2 - \frac\nu2\log 2 - \log\Gamma(\nu/2)$."""
        inside = (value > 0) & (value < jnp.inf)
        x = jnp.where(inside, value, 1.0)
        # The mean is nu: halving it first would round its logarithm.
        deviation = log_product(x, -self.log_df)
        half = 0.5 * jnp.exp(self.log_df)
        density = gamma_term(half, self._log_concentration, deviation) - jnp.log(x)
        beside = self.log_df - jnp.asarray(_LOG_TWO, self.log_df.dtype)
        at_zero = jnp.where(beside == 0, -_LOG_TWO, -jnp.sign(beside) * jnp.inf)
        return jnp.where(inside, density, jnp.where(value == 0, at_zero, log_zero(value)))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""The incomplete Gamma function $P(\nu/2, x/2)$; in float32 to about $10^{-6}\nu$."""
        return gammainc(0.5 * jnp.exp(self.log_df), 0.5 * jnp.maximum(value, 0.0))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\nu$."""
        return jnp.exp(self.log_df)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$2\nu$."""
        return 2.0 * jnp.exp(self.log_df)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\nu - 2$, or 0 for $\nu \le 2$."""
        return jnp.maximum(jnp.exp(self.log_df) - 2.0, 0.0)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\nu/2 + \log 2 + \log\Gamma(\nu/2) + (1 - \nu/2)\psi(\nu/2)$."""
        return gamma_entropy(self._log_concentration) + _LOG_TWO

    @property
    def _log_concentration(self) -> Array:
        return self.log_df - _LOG_TWO
