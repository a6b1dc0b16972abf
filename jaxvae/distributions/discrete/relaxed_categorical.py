"""The Concrete distribution, a relaxed Categorical."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit
from jaxvae.distributions.discrete.categorical import Categorical
from jaxvae.distributions.discrete.relaxed_bernoulli import check_temperature
from jaxvae.distributions.noise import StandardUniform
from jaxvae.distributions.numerics.edges import log_zero


@distribution
class RelaxedCategorical(Explicit):
    r"""Points of the simplex that tend to one-hot vectors as the temperature falls.

    Noise $u \sim U(0, 1)^K$, transformation
    $g(u) = \mathrm{softmax}((\ell - \log(-\log u))/\tau)$: Gumbel variables by inversion. With
    $s_k = \ell_k - \tau\log x_k$ the density, with respect to the first K - 1 coordinates, is
    $p(x) = (K - 1)!\,\tau^{K - 1}\prod_k \mathrm{softmax}(s)_k / x_k$. Axes before the last are
    independent draws of one event.

    Samples are kept off 0, to which low temperatures would round them; ``transform_and_log_prob``
    has the density from before this rounding, so prefer it to ``log_prob`` of a sample. That the
    coordinates of a value add up to 1 is not checked, as rounding breaks it.

    Args:
        logits: $\ell$ of the Categorical, event shape ``(*factors, K)``, finite.
        log_temperature: $\log\tau$, one number for the whole event.

    Raises:
        ValueError: if the logits have no axis of categories, or the temperature is not a scalar.

    Reference: Maddison, Mnih and Teh (2017), definition 1; Jang, Gu and Poole (2017).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import RelaxedCategorical
        >>> relaxed = RelaxedCategorical(jnp.zeros(2), jnp.array(0.0))
        >>> float(relaxed.log_prob(jnp.array([0.25, 0.75])))
        0.0
    """

    has_edge: ClassVar[bool] = True

    logits: Float[Array, "*event"]
    log_temperature: Float[Array, ""]

    def __post_init__(self) -> None:
        if self.logits.ndim == 0:
            raise ValueError(
                "RelaxedCategorical expected logits with a last axis of categories, got a scalar; "
                "use RelaxedBernoulli for a single logit"
            )
        check_temperature("RelaxedCategorical", self.log_temperature)

    @classmethod
    def from_categorical(
        cls, categorical: Categorical, log_temperature: Float[Array, ""]
    ) -> "RelaxedCategorical":
        """The relaxation of a Categorical, which ``hard`` gives back."""
        return cls(categorical.logits, log_temperature)

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.logits.shape)

    @property
    def noise(self) -> StandardUniform:
        """One uniform variable for each category."""
        return StandardUniform(self.event_shape, self.logits.dtype)

    def transform(self, noise: Float[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\mathrm{softmax}((\ell - \log(-\log u))/\tau)$."""
        return self._transform(_gumbel(noise))

    def transform_and_log_prob(
        self, noise: Float[Array, "*event"]
    ) -> tuple[Float[Array, "*event"], Scalar]:
        """The event and its log-density, from the noise: no logarithm of a rounded number."""
        gumbel = _gumbel(noise)
        log_x = jax.nn.log_softmax(self._scores(gumbel))
        return self._transform(gumbel), self._log_density(-gumbel, log_x)

    def log_prob(self, value: Float[Array, "*event"]) -> Scalar:
        r"""$\log (K - 1)! + (K - 1)\log\tau + \sum_k \log\mathrm{softmax}(s)_k - \log x_k$."""
        _check.event_shape("RelaxedCategorical.log_prob", self.event_shape, value.shape)
        check_temperature("RelaxedCategorical", self.log_temperature)
        inside = jnp.all((value > 0) & (value < jnp.inf))
        log_x = jnp.log(jnp.where(inside, value, 1.0))
        s = self._centred() - jnp.exp(self.log_temperature) * log_x
        return jnp.where(inside, self._log_density(s, log_x), jnp.sum(log_zero(value)))

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$E\,g(u)$, to rounding (absolutely), by two trapezoidal rules.

        As $E\,x_k$ is the probability that $\ell_k + G_k + \tau G'_k$ is the largest, with
        Gumbel variables $G$ and $G'$, it is $\int c(w - \ell_k)\prod_{j \ne k} C(w - \ell_j) dw$
        where $C$ and $c$ are the distribution function and density of $G + \tau G'$. Both are
        means over the narrower of the two, analytic where $|\mathrm{Im}| < \pi/2$.
        """
        slope = jnp.exp(-jnp.abs(self.log_temperature))
        logits = self._centred()
        scaled = jnp.where(self.log_temperature < 0, logits, logits * slope)
        factors = scaled.reshape(-1, scaled.shape[-1])
        return jax.vmap(_largest, (0, None))(factors, slope).reshape(self.event_shape)

    def hard(self, value: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """The one-hot vector of the largest entry, which is Categorical with the same logits."""
        categories = self.logits.shape[-1]
        return jax.nn.one_hot(jnp.argmax(value, axis=-1), categories, dtype=self.logits.dtype)

    def _centred(self) -> Array:
        """Logits below their largest: a common size would cost digits of what is added to it."""
        return self.logits - jax.lax.stop_gradient(jnp.max(self.logits, -1, keepdims=True))

    def _scores(self, gumbel: Array) -> Array:
        return (self._centred() + gumbel) * jnp.exp(-self.log_temperature)

    def _transform(self, gumbel: Array) -> Array:
        tiny = jnp.finfo(self.logits.dtype).tiny
        return jnp.maximum(jax.nn.softmax(self._scores(gumbel)), tiny)

    def _log_density(self, s: Array, log_x: Array) -> Scalar:
        *factors, categories = self.event_shape
        constant = math.lgamma(categories) + (categories - 1) * self.log_temperature
        return math.prod(factors) * constant + jnp.sum(jax.nn.log_softmax(s) - log_x)


def _gumbel(uniform: Array) -> Array:
    return -jnp.log(-jnp.log(uniform))


def _largest(locations: Float[Array, "K"], scale: Scalar) -> Float[Array, "K"]:
    r"""$P(k = \arg\max_j\,\ell_j + G_j + \sigma G'_j)$ for $\sigma \le 1$."""
    dtype = locations.dtype
    end, step = (22.0, 0.5) if dtype == jnp.float32 else (42.0, 0.25)
    gumbel = jnp.arange(-5.0, end, step, dtype)
    weights = (step * jnp.exp(-gumbel - jnp.exp(-gumbel)))[None, None]
    w = jnp.arange(-8.0, end + math.log(len(locations)), step, dtype) + jnp.max(locations)
    rest = (w[:, None] - locations[None])[..., None] - scale * gumbel[None, None]
    # Below -6 nothing is left but derivatives of the form 0 times infinity.
    hazard = jnp.exp(-jnp.maximum(rest, -6.0))
    held = jnp.sum(weights * jnp.exp(-hazard), axis=-1)
    density = jnp.sum(weights * hazard * jnp.exp(-hazard), axis=-1)
    log_held = jnp.log(jnp.maximum(held, jnp.finfo(dtype).tiny))
    others = jnp.sum(log_held, axis=-1, keepdims=True) - log_held
    return step * jnp.sum(density * jnp.exp(others), axis=0)
