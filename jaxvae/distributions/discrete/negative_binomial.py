"""The negative binomial distribution, by its mean and its dispersion."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxvae._types import PRNGKey
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Factorised
from jaxvae.distributions.discrete._arrivals import poisson_counts
from jaxvae.distributions.numerics.edges import log_zero
from jaxvae.distributions.numerics.saddle import excess, gap, is_count, within_range
from jaxvae.distributions.numerics.special import stirling_remainder, stirling_slope


@jax.custom_jvp
def _relative_gap(count: Array, log_mean: Array, log_theta: Array) -> tuple[Array, Array, Array]:
    r"""$u = (x - \mu)/(\mu + \theta)$, $1 + u = (x + \theta)/(\mu + \theta)$ and $\theta u$.

    The last is the derivative by $\log\mu$. Their own derivatives are products here, where
    those of the quotients would cancel for unequal $\mu$ and $\theta$.
    """
    theta = jnp.exp(log_theta)
    total = jnp.exp(log_mean) + theta
    u = gap(count, log_mean) / total
    return u, (count + theta) / total, theta * u


@_relative_gap.defjvp
def _relative_gap_jvp(primals, tangents):
    _, log_mean, log_theta = primals
    u, ratio, by_mean = _relative_gap(*primals)
    mean_part = jax.nn.sigmoid(log_mean - log_theta)
    theta_part = jax.nn.sigmoid(log_theta - log_mean)
    shrink = ratio * mean_part * tangents[1]
    tangent = -(shrink + u * theta_part * tangents[2])
    by_mean_dot = by_mean * mean_part * tangents[2] - jnp.exp(log_theta) * shrink
    return (u, ratio, by_mean), (tangent, tangent, by_mean_dot)


@jax.custom_jvp
def _log_mass(count: Array, log_mean: Array, log_theta: Array) -> Array:
    r"""Two deviances, of $\theta$ from np and of x from nq, half a logarithm and remainders.

    $n = x + \theta$ trials, $p = \theta/(\theta + \mu)$ and $q = 1 - p$: the mass is that of a
    binomial times $\theta/n$, so nothing is lost as $\theta$ grows and the distribution becomes
    Poisson. All terms but the remainders have one sign.
    """
    theta = jnp.exp(log_theta)
    x = jnp.maximum(count, 1.0)
    u, ratio, by_mean = _relative_gap(count, log_mean, log_theta)
    # x - nq is theta u, and nq is mu times the ratio.
    of_count = x * excess(-by_mean / x, jnp.exp(log_mean) * ratio / x)
    deviance = theta * excess(u, ratio) + jnp.where(count > 0, of_count, -by_mean)
    root = 0.5 * (log_theta - jnp.log(2.0 * math.pi * x * (x + theta))) - stirling_remainder(x)
    remainders = stirling_remainder(count + theta) - stirling_remainder(theta)
    return jnp.where(count > 0, root, 0.0) + remainders - deviance


@_log_mass.defjvp
def _log_mass_jvp(primals, tangents):
    count, log_mean, log_theta = primals
    theta = jnp.exp(log_theta)
    u, ratio, by_mean = _relative_gap(count, log_mean, log_theta)
    # The two digamma functions are logarithms, in the excess, and what remains of them here.
    remain = theta * (stirling_slope(count + theta) - stirling_slope(theta))
    by_theta = 0.5 * count / (count + theta) + remain - theta * excess(u, ratio)
    tangent = by_mean * tangents[1] + by_theta * tangents[2]
    return _log_mass(*primals), tangent


@distribution
class NegativeBinomial(Factorised):
    r"""Independent counts with mean $\mu$ and variance $\mu + \mu^2/\theta$.

    $p(x) = \frac{\Gamma(x + \theta)}{\Gamma(\theta)\,x!}
    \left(\frac{\theta}{\theta + \mu}\right)^\theta \left(\frac{\mu}{\theta + \mu}\right)^x$,
    which is Poisson's as the inverse dispersion $\theta$ grows.

    The log-mass is two deviances and small remainders (Loader), so that float32 serves a million
    counts as well as one. Values other than whole numbers have no mass, and no gradient flows to
    a value. Parameters beyond $e^{\pm 60}$ ($e^{\pm 480}$ in float64) are taken to be at the end
    of that range, so that the log-mass and its gradient are finite for every network output.

    Args:
        log_mean: $\log\mu$, any event shape.
        log_inverse_dispersion: $\log\theta$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Loader (2000), Fast and accurate computation of binomial probabilities; in single-
    cell models, Lopez et al. (2018), Deep generative modeling for single-cell transcriptomics.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import NegativeBinomial
        >>> geometric = NegativeBinomial(jnp.array(0.0), jnp.array(0.0))
        >>> round(float(jnp.exp(geometric.log_prob(jnp.array(2.0)))), 4)
        0.125
    """

    log_mean: Float[Array, "*event"]
    log_inverse_dispersion: Float[Array, "*event"]

    @classmethod
    def from_mean(
        cls, mean: Float[Array, "*event"], inverse_dispersion: Float[Array, "*event"]
    ) -> "NegativeBinomial":
        r"""From a positive mean $\mu$ and inverse dispersion $\theta$."""
        return cls(jnp.log(mean), jnp.log(inverse_dispersion))

    @property
    def reparameterised(self) -> bool:
        """False: a sample jumps as the parameters move."""
        return False

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        r"""A Poisson count whose rate is Gamma with shape $\theta$ and mean $\mu$."""
        gamma_key, count_key = jax.random.split(key)
        log_mean, log_theta = jax.lax.stop_gradient(self._within_range())
        log_gamma = jax.random.loggamma(gamma_key, jnp.exp(log_theta), dtype=log_theta.dtype)
        return poisson_counts(count_key, jnp.exp(log_mean - log_theta + log_gamma))

    def log_prob_by_factor(self, value: Num[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log p(x)$, with the density above."""
        x = jax.lax.stop_gradient(value.astype(self.log_mean.dtype))
        inside = is_count(x)
        log_mass = _log_mass(jnp.where(inside, x, 0.0), *self._within_range())
        return jnp.where(inside, log_mass, log_zero(x))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\mu$."""
        return jnp.exp(self.log_mean)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$\mu + \mu^2/\theta$."""
        return self.mean * (1.0 + jnp.exp(self.log_mean - self.log_inverse_dispersion))

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$\lfloor\mu(\theta - 1)/\theta\rfloor$, and 0 for $\theta \le 1$."""
        return jnp.floor(self.mean * jnp.maximum(-jnp.expm1(-self.log_inverse_dispersion), 0.0))

    def _within_range(self) -> tuple[Array, Array]:
        return within_range(self.log_mean), within_range(self.log_inverse_dispersion)
