"""The binary Concrete distribution, a relaxed Bernoulli."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae._types import Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised
from jaxvae.distributions.discrete.bernoulli import Bernoulli
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import log_zero, unless_nan


def check_temperature(owner: str, log_temperature: Array) -> None:
    """Raise unless a temperature is one number for the whole event."""
    if log_temperature.shape != ():
        raise ValueError(
            f"{owner} expected one log_temperature of shape (), got {log_temperature.shape}; "
            "jax.vmap where distributions of a batch have their own"
        )


@distribution
class RelaxedBernoulli(Explicit, Factorised):
    r"""Independent numbers in (0, 1) that tend to a Bernoulli as the temperature falls.

    Noise $u \sim U(0, 1)$, transformation $g(u) = \sigma((\ell + \log\frac{u}{1 - u})/\tau)$. With
    $y = \log\frac{x}{1 - x}$ the density is
    $p(x) = \tau\,\sigma(\tau y - \ell)\,\sigma(\ell - \tau y) / (x(1 - x))$. Samples are kept
    off 0 and 1, to which low temperatures would round them; ``transform_and_log_prob`` has the
    density from before this rounding, so prefer it to ``log_prob`` of a sample.

    Args:
        logits: $\ell$ of the Bernoulli, any event shape.
        log_temperature: $\log\tau$, one number for the whole event.

    Raises:
        ValueError: if the temperature is not a scalar.

    Reference: Maddison, Mnih and Teh (2017), appendix B, "BinConcrete".

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import RelaxedBernoulli
        >>> float(RelaxedBernoulli(jnp.array(0.0), jnp.array(0.0)).cdf(jnp.array(0.25)))
        0.25
    """

    has_edge: ClassVar[bool] = True

    logits: Float[Array, "*event"]
    log_temperature: Float[Array, ""]

    def __post_init__(self) -> None:
        check_temperature("RelaxedBernoulli", self.log_temperature)

    @classmethod
    def from_bernoulli(
        cls, bernoulli: Bernoulli, log_temperature: Float[Array, ""]
    ) -> "RelaxedBernoulli":
        """The relaxation of a Bernoulli, which ``hard`` gives back."""
        return cls(bernoulli.logits, log_temperature)

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each coordinate."""
        return StandardUniform(self.event_shape, self.logits.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\sigma((\ell + \log\frac{u}{1 - u})/\tau)$."""
        limits = jnp.finfo(self.logits.dtype)
        return jnp.clip(jax.nn.sigmoid(self._logit(noise)), limits.tiny, 1.0 - limits.epsneg)

    def transform_and_log_prob(
        self, noise: Float[Array, "*event"]
    ) -> tuple[Float[Array, "*event"], Scalar]:
        """The event and its log-density, from the noise: no logit of a rounded number."""
        y = self._logit(noise)
        log_noise = jnp.log(noise) + jnp.log1p(-noise)
        log_slope = jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
        return self.transform(noise), jnp.sum(self.log_temperature + log_noise - log_slope)

    def log_prob_by_factor(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log\tau + \log\sigma(\tau y - \ell) + \log\sigma(\ell - \tau y) - \log x(1 - x)$."""
        inside = (value > 0) & (value < 1)
        x = jnp.where(inside, value, 0.5)
        log_x, log_rest = jnp.log(x), jnp.log1p(-x)
        shifted = jnp.exp(self.log_temperature) * (log_x - log_rest) - self.logits
        log_logistic = jax.nn.log_sigmoid(shifted) + jax.nn.log_sigmoid(-shifted)
        return jnp.where(
            inside, self.log_temperature + log_logistic - log_x - log_rest, log_zero(value)
        )

    def cdf(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\sigma(\tau y - \ell)$."""
        inside = (value > 0) & (value < 1)
        x = jnp.where(inside, value, 0.5)
        y = jnp.log(x) - jnp.log1p(-x)
        within = jax.nn.sigmoid(jnp.exp(self.log_temperature) * y - self.logits)
        return jnp.where(inside, within, unless_nan(value, (value >= 1).astype(self.logits.dtype)))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$E\,\sigma((\ell + s)/\tau)$ with $s$ logistic, to rounding (absolutely).

        It is the probability that $\tau s' - s \le \ell$ for two logistic variables, so the
        smoother of $E\,\sigma(\ell - \tau s')$ and $E\,\sigma((\ell + s)/\tau)$ serves: both
        factors are analytic where $|\mathrm{Im}\,s| < \pi$, and the trapezoidal rule with step h
        errs by about $e^{-2\pi^2/h}$.
        """
        narrow = self.log_temperature < 0
        reach, step = (20, 1.0) if self.logits.dtype == jnp.float32 else (66, 0.5)
        s = step * jnp.arange(-reach, reach + 1, dtype=self.logits.dtype)
        weights = jax.nn.sigmoid(s) * jax.nn.sigmoid(-s)
        weights = weights / jnp.sum(weights)
        slope = jnp.exp(-jnp.abs(self.log_temperature))
        scaled = jnp.where(narrow, self.logits, self.logits * slope)[..., None]
        s, weights = (x.reshape(*(1,) * self.logits.ndim, -1) for x in (s, weights))
        return jnp.sum(weights * jax.nn.sigmoid(scaled + slope * s), axis=-1)

    def hard(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$[x > \frac12]$, which is Bernoulli with the same logits."""
        return (value > 0.5).astype(self.logits.dtype)

    def _logit(self, noise: Array) -> Array:
        logistic = jnp.log(noise) - jnp.log1p(-noise)
        return (self.logits + logistic) * jnp.exp(-self.log_temperature)
