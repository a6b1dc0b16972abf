"""The Beta distribution."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import betainc
from jaxtyping import Float

from jaxvae._types import PRNGKey
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Factorised
from jaxvae.distributions.composition._log_gamma import (
    dirichlet_entropy,
    dirichlet_log_density,
    sample_log_gamma,
)
from jaxvae.distributions.numerics.pair import exact_sum


@distribution
class Beta(Factorised):
    r"""Independent fractions with $p(x) = x^{a - 1}(1 - x)^{b - 1}/B(a, b)$ for $0 < x < 1$.

    The fraction $G_a/(G_a + G_b)$ of two Gamma variables, taken in logarithms. No explicit
    transformation exists: samples are differentiated with the distribution functions of $G_a$ and
    $G_b$ held fixed (implicit reparameterisation). Samples that round to 0 or 1 are the smallest
    positive normal number or the largest below 1. For a fixed key they jump as a and b change, as
    rejection does: common random numbers are not smooth in them.

    Args:
        log_alpha: $\log a$, any event shape.
        log_beta: $\log b$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 3; Figurnov, Mohamed and Mnih (2018).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Beta
        >>> float(Beta(jnp.zeros(1), jnp.zeros(1)).log_prob(jnp.array([0.3])))
        0.0
    """

    log_alpha: Float[Array, "*event"]
    log_beta: Float[Array, "*event"]

    @classmethod
    def from_concentrations(
        cls, alpha: Float[Array, "*event"], beta: Float[Array, "*event"]
    ) -> "Beta":
        """From positive concentrations."""
        return cls(jnp.log(alpha), jnp.log(beta))

    @property
    def reparameterised(self) -> bool:
        """True: samples have implicit derivatives in both parameters."""
        return True

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """One event, strictly between 0 and 1."""
        log_gammas = sample_log_gamma(key, jnp.stack([self.log_alpha, self.log_beta]))
        limits = jnp.finfo(log_gammas.dtype)
        fraction = jax.nn.sigmoid(log_gammas[0] - log_gammas[1])
        return jnp.clip(fraction, float(limits.tiny), 1.0 - float(limits.epsneg))

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$(a - 1)\log x + (b - 1)\log(1 - x) - \log B(a, b)$, as deviations from the mean."""
        complement, rest = exact_sum(-value, jnp.ones_like(value))
        parts = jnp.stack([value, complement], -1)
        rests = jax.lax.stop_gradient(jnp.stack([jnp.zeros_like(rest), rest], -1))
        return dirichlet_log_density(parts, rests, self._stacked)

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""The incomplete Beta function $I_x(a, b)$; in float32 to about $10^{-6}(a + b)$."""
        return betainc(jnp.exp(self.log_alpha), jnp.exp(self.log_beta), jnp.clip(value, 0.0, 1.0))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$a/(a + b)$."""
        return jax.nn.sigmoid(self.log_alpha - self.log_beta)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$ab/((a + b)^2(a + b + 1))$."""
        difference = self.log_alpha - self.log_beta
        whole = jnp.exp(self.log_alpha) + jnp.exp(self.log_beta)
        return jax.nn.sigmoid(difference) * jax.nn.sigmoid(-difference) / (whole + 1.0)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$(a - 1)/(a + b - 2)$ if both exceed 1, else the end the density rises to.

        NaN where both ends or all points are modes, $a < 1$ and $b < 1$ or $a = b = 1$.
        """
        a, b = jnp.expm1(self.log_alpha), jnp.expm1(self.log_beta)
        flat_or_double = ((a < 0) & (b < 0)) | ((a == 0) & (b == 0))
        a, b = jnp.maximum(a, 0.0), jnp.maximum(b, 0.0)
        # One below 1 and the other equal to 1: the density rises to the end of the former.
        lone = (a == 0) & (b == 0)
        inner = a / jnp.where(lone, 1.0, a + b)
        end = (self.log_beta < self.log_alpha).astype(inner.dtype)
        return jnp.where(flat_or_double, jnp.nan, jnp.where(lone, end, inner))

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$\log B(a, b) - (a - 1)\psi(a) - (b - 1)\psi(b) + (a + b - 2)\psi(a + b)$."""
        return dirichlet_entropy(self._stacked)

    @property
    def _stacked(self) -> Array:
        return jnp.stack([self.log_alpha, self.log_beta], -1)
