"""The Categorical distribution over one-hot vectors, from logits."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.numerics.edges import log_zero


@distribution
class Categorical:
    r"""One-hot vectors with $p(x) = \prod_k \pi_k^{x_k}$ and $\pi = \mathrm{softmax}(\ell)$.

    Axes before the last are independent draws of one event. A value with several entries between 0
    and 1 that add up to one (a relaxed or averaged label) is scored with the same formula, the
    negative cross-entropy; any other value has no mass.

    Args:
        logits: $\ell$, event shape ``(*factors, K)``, finite.

    Raises:
        ValueError: if the logits have no axis of categories.

    Reference: Durstewitz, lecture 12, categorical latents.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Categorical
        >>> float(jnp.exp(Categorical(jnp.zeros(4)).log_prob(jnp.array([0.0, 1.0, 0.0, 0.0]))))
        0.25
    """

    logits: Float[Array, "*event"]

    @property
    def reparameterised(self) -> bool:
        """False: a sample jumps as the parameters move."""
        return False

    def __post_init__(self) -> None:
        if self.logits.ndim == 0:
            raise ValueError(
                "Categorical expected logits with a last axis of categories, got a scalar; "
                "use Bernoulli for a single logit"
            )

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.logits.shape)

    @property
    def log_probs(self) -> Float[Array, "*event"]:
        r"""$\log\pi$."""
        return jax.nn.log_softmax(self.logits)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$\pi$."""
        return jax.nn.softmax(self.logits)

    @property
    def mode(self) -> Float[Array, "*event"]:
        """The most probable one-hot vector."""
        return self._one_hot(jnp.argmax(self.logits, axis=-1))

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """A one-hot vector in the dtype of the logits."""
        return self._one_hot(jax.random.categorical(key, self.logits))

    def log_prob(self, value: Num[Array, "*event"]) -> Scalar:
        r"""$\sum_k x_k\log\pi_k$."""
        _check.event_shape("Categorical.log_prob", self.event_shape, value.shape)
        weights = value.astype(self.logits.dtype)
        return jnp.where(
            _on_simplex(weights), jnp.sum(weights * self.log_probs), jnp.sum(log_zero(weights))
        )

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, "*event"], Scalar]:
        """One event and its log-mass."""
        value = self.sample(key)
        return value, self.log_prob(value)

    def entropy(self) -> Scalar:
        r"""$-\sum_k \pi_k\log\pi_k$."""
        return -jnp.sum(self.mean * self.log_probs)

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$\pi(1 - \pi)$ of each entry of the one-hot vector."""
        return self.mean * (1.0 - self.mean)

    def _one_hot(self, index: Array) -> Float[Array, "*event"]:
        return jax.nn.one_hot(index, self.logits.shape[-1], dtype=self.logits.dtype)


def _on_simplex(weights: Array) -> Array:
    """Whether rows are not negative and add up to one, but for roundings of whoever made them."""
    slack = math.sqrt(float(jnp.finfo(weights.dtype).eps))
    close = jnp.abs(jnp.sum(weights, axis=-1) - 1.0) <= slack
    return jnp.all(weights >= -slack) & jnp.all(close)
