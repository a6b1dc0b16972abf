"""The Gompertz distribution."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import log_zero, unless_nan

_EULER = float(np.euler_gamma)
_TERMS, _DEPTH = 17, 60


@distribution
class Gompertz(Explicit, Factorised):
    r"""Independent lifetimes with a hazard that grows like $e^{bx}$.

    $p(x) = b\eta\exp(\eta + bx - \eta e^{bx})$ for $x \ge 0$.
    Noise $u \sim U(0, 1)$, transformation $g(u) = \log(1 - \log(1 - u)/\eta)/b$, the inverse CDF.
    The variance has no elementary form and is not offered.

    Args:
        log_concentration: $\log\eta$, any event shape.
        log_rate: $\log b$, the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Bath report, section 4.2.5, family 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Gompertz
        >>> round(float(Gompertz(jnp.array(0.0), jnp.array(0.0)).mean), 4)
        0.5963
    """

    has_edge: ClassVar[bool] = True

    log_concentration: Float[Array, "*event"]
    log_rate: Float[Array, "*event"]

    @classmethod
    def from_rate(
        cls, concentration: Float[Array, "*event"], rate: Float[Array, "*event"]
    ) -> "Gompertz":
        r"""From a positive concentration $\eta$ and a positive rate $b$."""
        return cls(jnp.log(concentration), jnp.log(rate))

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.log_rate.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log(1 - \log(1 - u)/\eta)/b$."""
        growth = -jnp.log1p(-noise) * jnp.exp(-self.log_concentration)
        return jnp.log1p(growth) * jnp.exp(-self.log_rate)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log b + \log\eta + bx - \eta(e^{bx} - 1)$."""
        finite = (value >= 0) & (value < jnp.inf)
        time = jnp.exp(self.log_rate) * jnp.where(finite, value, 0.0)
        inside = finite & (time < jnp.inf)
        time = jnp.where(inside, time, 0.0)
        hazard = jnp.exp(self.log_concentration) * jnp.expm1(time)
        log_prob = self.log_rate + self.log_concentration + time - hazard
        return jnp.where(inside, log_prob, log_zero(value))

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$1 - e^{-\eta(e^{bx} - 1)}$."""
        time = jnp.exp(self.log_rate) * jnp.where(value > 0, value, 0.0)
        # An infinite hazard times a zero density would be a NaN in the gradient.
        time = jnp.minimum(time, 0.99 * math.log(jnp.finfo(time.dtype).max))
        cdf = -jnp.expm1(-jnp.exp(self.log_concentration) * jnp.expm1(time))
        return unless_nan(value, cdf)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$e^\eta E_1(\eta)/b$ with the exponential integral $E_1$."""
        return _scaled_exponential_integral(self.log_concentration) * jnp.exp(-self.log_rate)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$-\log(\eta)/b$, and 0 for $\eta \ge 1$."""
        inner = self.log_concentration < 0
        return jnp.where(inner, -self.log_concentration, 0.0) * jnp.exp(-self.log_rate)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        r"""$1 - \log b\eta - e^\eta E_1(\eta)$."""
        time = _scaled_exponential_integral(self.log_concentration)
        return 1.0 - self.log_concentration - self.log_rate - time


def _scaled_exponential_integral(log_x: Array) -> Array:
    r"""$e^x E_1(x)$: a power series up to one, beyond it a continued fraction of fixed depth.

    Reference: Abramowitz and Stegun (1964), 5.1.11 and 5.1.22.
    """
    low = log_x < 0
    log_small = jnp.where(low, log_x, 0.0)
    small, large = jnp.exp(log_small), jnp.exp(jnp.where(low, 0.0, log_x))
    return jnp.where(low, _by_series(small, log_small), _by_fraction(large))


def _by_series(x: Array, log_x: Array) -> Array:
    total = jnp.zeros_like(x)
    for n in range(_TERMS, 0, -1):
        total = total * x - (-1.0) ** n / (n * math.factorial(n))
    return jnp.exp(x) * (total * x - log_x - _EULER)


def _by_fraction(x: Array) -> Array:
    def step(index, below):
        n = (_DEPTH - index).astype(x.dtype)
        return x + (2.0 * n - 1.0) - n * n / below

    return 1.0 / jax.lax.fori_loop(0, _DEPTH, step, x + (2.0 * _DEPTH + 1.0))
