"""The Gamma distribution."""

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


@distribution
class Gamma(Factorised):
    r"""Independent variables with $p(x) = r^a x^{a - 1} e^{-rx}/\Gamma(a)$ for $x > 0$.

    No explicit transformation exists for a general shape a: samples are differentiated with their
    distribution function held fixed (implicit reparameterisation). Integer shapes have one, a sum
    of a exponential variables: that is ``Erlang``. The noise of rejection sampling is no function
    of uniform variables of fixed number, so there is no ``noise`` and no ``transform``; for a fixed
    key samples jump as a changes, and common random numbers are not smooth in it.

    A shape of $10^{-3}$ puts most of its mass below the smallest positive number; such draws are
    that number, and ``sample_log`` has them as they are.

    Args:
        log_concentration: $\log a$, any event shape.
        log_rate: $\log r$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 3; Figurnov, Mohamed and Mnih (2018).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Gamma
        >>> float(Gamma.from_concentration(jnp.array([3.0]), jnp.array([2.0])).mean[0])
        1.5
    """

    log_concentration: Float[Array, "*event"]
    log_rate: Float[Array, "*event"]

    @classmethod
    def from_concentration(
        cls, concentration: Float[Array, "*event"], rate: Float[Array, "*event"]
    ) -> "Gamma":
        """From a positive concentration (shape) and a positive rate."""
        return cls(jnp.log(concentration), jnp.log(rate))

    @property
    def reparameterised(self) -> bool:
        """True: samples have implicit derivatives in both parameters."""
        return True

    def sample_log(self, key: PRNGKey) -> Float[Array, "*event"]:
        r"""$\log x$ of one event, which does not underflow."""
        return sample_log_gamma(key, self.log_concentration) - self.log_rate

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """One event, of positive normal numbers."""
        return exp_positive(self.sample_log(key))

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$a\log r + (a - 1)\log x - rx - \log\Gamma(a)$, as a deviation from the mean."""
        inside = (value > 0) & (value < jnp.inf)
        x, log_a = jnp.where(inside, value, 1.0), self.log_concentration
        deviation = log_product(x, self.log_rate, -log_a)
        density = gamma_term(jnp.exp(log_a), log_a, deviation) - jnp.log(x)
        at_zero = jnp.where(log_a == 0, self.log_rate, -jnp.sign(log_a) * jnp.inf)
        return jnp.where(inside, density, jnp.where(value == 0, at_zero, log_zero(value)))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""The regularised incomplete Gamma function $P(a, rx)$; in float32 to about $10^{-6}a$."""
        scaled = jnp.maximum(value, 0.0) * jnp.exp(self.log_rate)
        return gammainc(jnp.exp(self.log_concentration), scaled)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$a/r$."""
        return jnp.exp(self.log_concentration - self.log_rate)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$a/r^2$."""
        return jnp.exp(self.log_concentration - 2.0 * self.log_rate)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$(a - 1)/r$, or 0 for $a \le 1$."""
        return jnp.maximum(jnp.expm1(self.log_concentration), 0.0) * jnp.exp(-self.log_rate)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$a - \log r + \log\Gamma(a) + (1 - a)\psi(a)$."""
        return gamma_entropy(self.log_concentration) - self.log_rate
