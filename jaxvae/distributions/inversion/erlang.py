"""The Erlang distribution."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammainc
from jaxtyping import Float

from jaxvae import _check
from jaxvae.distributions._pytree import distribution, static
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import log_zero, unless_nan
from jaxvae.distributions.numerics.special import stirling_remainder


@distribution
class Erlang(Explicit, Factorised):
    r"""Independent times of the k-th event, $p(x) = \lambda^k x^{k - 1}e^{-\lambda x}/(k - 1)!$.

    Noise $u_1, \dots, u_k \sim U(0, 1)$ for each coordinate, transformation
    $g(u) = -\sum_i\log(u_i)/\lambda$: a sum of exponential waiting times.

    Args:
        shape: k, a positive integer and no array, the same for all coordinates.
        log_rate: $\log\lambda$, any event shape.

    Raises:
        ValueError: if the shape is not a positive integer.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Erlang
        >>> float(Erlang.from_rate(3, jnp.array(2.0)).mean)
        1.5
    """

    has_edge: ClassVar[bool] = True

    shape: int = static()
    log_rate: Float[Array, "*event"]

    def __post_init__(self) -> None:
        _check.positive("Erlang.shape", self.shape)

    @classmethod
    def from_rate(cls, shape: int, rate: Float[Array, "*event"]) -> "Erlang":
        r"""From a positive rate $\lambda$."""
        return cls(shape, jnp.log(rate))

    @property
    def noise(self) -> StandardUniform:
        """As many uniform variables for each coordinate as the shape says, along a leading axis."""
        return StandardUniform((self.shape, *self.event_shape), self.log_rate.dtype)

    def transform(self, noise: Float[Array, "shape *event"]) -> Float[Array, "*event"]:
        r"""$-\sum_i\log(u_i)/\lambda$."""
        return -jnp.sum(jnp.log(noise), axis=0) * jnp.exp(-self.log_rate)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log\lambda + (k - 1)\log(1 + t) - kt - \frac12\log 2\pi k - R(k)$.

        Here $1 + t = \lambda x/k$ and R is the remainder of Stirling's formula for
        $\log\Gamma(k)$: terms of size $k\log k$ are never formed.
        """
        inside = (value > 0) & (value < jnp.inf)
        x = jnp.where(inside, value, 1.0)
        t = (jnp.exp(self.log_rate) * x - self.shape) / self.shape
        # From the logarithm where 1 + t has lost the digits of a small time.
        log_part = jnp.where(t < -0.5, self._log_relative(x), jnp.log1p(jnp.maximum(t, -0.5)))
        remainder = stirling_remainder(jnp.asarray(float(self.shape), x.dtype))
        constant = self.log_rate - (0.5 * math.log(2.0 * math.pi * self.shape) + remainder)
        log_prob = (self.shape - 1) * log_part - self.shape * t + constant
        limit = self.log_rate if self.shape == 1 else jnp.full_like(x, -jnp.inf)
        return jnp.where(inside, log_prob, jnp.where(value == 0, limit, log_zero(value)))

    def _log_relative(self, x: Array) -> Array:
        return jnp.log(x) + (self.log_rate - math.log(self.shape))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""The regularised incomplete gamma function $P(k, \lambda x)$."""
        time = jnp.exp(self.log_rate) * jnp.where(value > 0, value, 0.0)
        return unless_nan(value, gammainc(jnp.full_like(time, self.shape), time))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$k/\lambda$."""
        return self.shape * jnp.exp(-self.log_rate)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$k/\lambda^2$."""
        return self.shape * jnp.exp(-2.0 * self.log_rate)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$(k - 1)/\lambda$."""
        return (self.shape - 1) * jnp.exp(-self.log_rate)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$k + \log\Gamma(k) + (1 - k)\psi(k) - \log\lambda$."""
        harmonic = math.fsum(1.0 / n for n in range(1, self.shape))
        digamma = harmonic - 0.57721566490153286061
        constant = self.shape + math.lgamma(self.shape) + (1 - self.shape) * digamma
        return constant - self.log_rate
