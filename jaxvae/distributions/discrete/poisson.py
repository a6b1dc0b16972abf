"""The Poisson distribution."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxvae._types import PRNGKey
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Factorised
from jaxvae.distributions.discrete._arrivals import poisson_counts
from jaxvae.distributions.numerics.edges import log_zero
from jaxvae.distributions.numerics.saddle import gap, is_count, poisson_log_mass, within_range


@jax.custom_jvp
def _log_mass(count: Array, log_rate: Array) -> Array:
    """The derivative is given by hand, as that of a sum of large terms would cancel."""
    return poisson_log_mass(count, jnp.exp(log_rate), gap(count, log_rate))


@_log_mass.defjvp
def _log_mass_jvp(primals, tangents):
    count, log_rate = primals
    return _log_mass(count, log_rate), gap(count, log_rate) * tangents[1]


@distribution
class Poisson(Factorised):
    r"""Independent counts, $p(x) = \lambda^x e^{-\lambda}/x!$ for $x = 0, 1, 2, \ldots$.

    The log-mass is a deviance and small remainders (Loader), so that float32 serves a million
    counts as well as one. Values other than whole numbers have no mass, and no gradient flows to
    a value. Rates beyond $e^{\pm 60}$ ($e^{\pm 480}$ in float64) are taken to be at the end of
    that range, so that the log-mass and its gradient are finite for every network output.

    Args:
        log_rate: $\log\lambda$, any event shape.

    Reference: Loader (2000), Fast and accurate computation of binomial probabilities.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Poisson
        >>> round(float(Poisson(jnp.log(jnp.array(1e6))).log_prob(jnp.array(1e6))), 4)
        -7.8267
    """

    log_rate: Float[Array, "*event"]

    @classmethod
    def from_rate(cls, rate: Float[Array, "*event"]) -> "Poisson":
        r"""From a positive rate $\lambda$."""
        return cls(jnp.log(rate))

    @property
    def reparameterised(self) -> bool:
        """False: a sample jumps as the parameters move."""
        return False

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """Whole numbers in the dtype of the log-rate."""
        return poisson_counts(key, jnp.exp(within_range(self.log_rate)))

    def log_prob_by_factor(self, value: Num[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$x\log\lambda - \lambda - \log x!$."""
        x = jax.lax.stop_gradient(value.astype(self.log_rate.dtype))
        inside = is_count(x)
        log_mass = _log_mass(jnp.where(inside, x, 0.0), within_range(self.log_rate))
        return jnp.where(inside, log_mass, log_zero(x))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\lambda$."""
        return jnp.exp(self.log_rate)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$\lambda$."""
        return jnp.exp(self.log_rate)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\lfloor\lambda\rfloor$."""
        return jnp.floor(jnp.exp(self.log_rate))
