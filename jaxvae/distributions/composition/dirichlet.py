"""The Dirichlet distribution."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.composition._log_gamma import (
    dirichlet_entropy,
    dirichlet_log_density,
    sample_log_gamma,
)


@distribution
class Dirichlet:
    r"""Fractions of a whole, $p(x) = \prod_k x_k^{a_k - 1}/B(a)$ on the simplex $\sum_k x_k = 1$.

    Gamma variables divided by their sum, a softmax of their logarithms. No explicit transformation
    exists: samples are differentiated with the distribution functions of the Gamma variables held
    fixed (implicit reparameterisation). Parts that underflow are the smallest positive normal
    number. For a fixed key samples jump as concentrations change, as rejection does: common random
    numbers are not smooth in them.

    The density is with respect to the first $K - 1$ parts. As rounded parts never sum to 1 exactly,
    the sum is not tested: the formula is evaluated where it is asked for. Axes before the last are
    independent draws of one event.

    Args:
        log_concentration: $\log a$, event shape ``(*factors, K)``.

    Raises:
        ValueError: if there is no axis of parts.

    Reference: Bath report, section 4.2.5, family 3; Figurnov, Mohamed and Mnih (2018).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Dirichlet
        >>> round(float(jnp.exp(Dirichlet(jnp.zeros(3)).log_prob(jnp.array([0.5, 0.2, 0.3])))), 4)
        2.0
    """

    log_concentration: Float[Array, "*event"]

    def __post_init__(self) -> None:
        if self.log_concentration.ndim == 0:
            raise ValueError(
                "Dirichlet expected log_concentration with a last axis of parts, got a scalar; "
                "use Beta for the fractions of two parts"
            )

    @classmethod
    def from_concentration(cls, concentration: Float[Array, "*event"]) -> "Dirichlet":
        """From positive concentrations."""
        return cls(jnp.log(concentration))

    @property
    def reparameterised(self) -> bool:
        """True: samples have implicit derivatives."""
        return True

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.log_concentration.shape)

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """One event, of positive normal numbers."""
        fractions = jax.nn.softmax(sample_log_gamma(key, self.log_concentration))
        return jnp.maximum(fractions, float(jnp.finfo(fractions.dtype).tiny))

    def log_prob(self, value: Float[Array, "*event"]) -> Scalar:
        r"""$\sum_k (a_k - 1)\log x_k - \log B(a)$, as deviations from the mean."""
        _check.event_shape("Dirichlet.log_prob", self.event_shape, value.shape)
        rest = jnp.zeros_like(value)
        return jnp.sum(dirichlet_log_density(value, rest, self.log_concentration))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, "*event"], Scalar]:
        """One event and its log-density."""
        value = self.sample(key)
        return value, self.log_prob(value)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$a_k/\sum_j a_j$."""
        return jax.nn.softmax(self.log_concentration)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$m_k(1 - m_k)/(1 + \sum_j a_j)$ with m the mean."""
        whole = jnp.sum(jnp.exp(self.log_concentration), axis=-1, keepdims=True)
        others = whole - jnp.exp(self.log_concentration)
        return self.mean * (others / whole) / (1.0 + whole)

    @property
    def mode(self) -> Float[Array, "*event"]:
        r"""$(a_k - 1)/(\sum_j a_j - K)$ where all exceed 1, else NaN."""
        above = jnp.expm1(self.log_concentration)
        inner = jnp.all(above > 0, axis=-1, keepdims=True)
        above = jnp.where(inner, above, 1.0)
        return jnp.where(inner, above / jnp.sum(above, axis=-1, keepdims=True), jnp.nan)

    def entropy(self) -> Scalar:
        r"""$\log B(a) - \sum_k (a_k - 1)\psi(a_k) + (\sum_k a_k - K)\psi(\sum_k a_k)$, in nats."""
        return jnp.sum(dirichlet_entropy(self.log_concentration))
