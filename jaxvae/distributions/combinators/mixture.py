"""Mixtures of one family."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp
from jaxtyping import Float

from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.combinators import _stacked
from jaxvae.distributions.discrete.categorical import Categorical


@distribution
class Mixture:
    r"""$p(x) = \sum_k \pi_k\,p(x \mid k)$: the value of a Joint without its label.

    Args:
        label: $\pi$, a Categorical with logits ``(K,)``.
        components: $p(x \mid k)$, one distribution whose arrays have an axis of K in front.

    Raises:
        ValueError: if an array of the components has no leading axis of K.

    Reference: thesis draft, chapter 5 (Gaussian mixtures in the latent space).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Categorical, Mixture, Normal
        >>> two = Mixture(Categorical(jnp.zeros(2)), Normal(jnp.array([-1.0, 3.0]), jnp.zeros(2)))
        >>> float(two.mean), float(two.variance)
        (1.0, 5.0)
    """

    label: Categorical
    components: Any

    def __post_init__(self) -> None:
        _stacked.check("Mixture", self.label, self.components)

    @property
    def reparameterised(self) -> bool:
        """False: a sample jumps from one component to another as the weights move."""
        return False

    @property
    def event_shape(self) -> Any:
        """Shape of one event, that of a component."""
        return _stacked.event_shape(self.components)

    def joint(self) -> Any:
        """The law of label and value, a ``Joint``."""
        from jaxvae.distributions.combinators.joint import Joint  # each is made from the other

        return Joint(self.label, self.components)

    @property
    def mean(self) -> PyTree:
        r"""$\sum_k \pi_k\mu_k$."""
        return _stacked.contract(self.label.mean, jax.vmap(lambda c: c.mean)(self.components))

    @property
    def variance(self) -> PyTree:
        r"""$\sum_k \pi_k(\sigma_k^2 + (\mu_k - \mu)^2)$, of every coordinate."""
        means, variances = jax.vmap(lambda c: (c.mean, c.variance))(self.components)

        def spread(mean: Array, means: Array, variances: Array) -> Array:
            return variances + jnp.square(means - mean[None])

        return _stacked.contract(self.label.mean, jax.tree.map(spread, self.mean, means, variances))

    def sample(self, key: PRNGKey) -> PyTree:
        """A value of the component of a drawn label."""
        return self.joint().sample(key)[1]

    def log_prob(self, value: Any) -> Scalar:
        r"""$\log\sum_k \pi_k\,p(x \mid k)$; minus infinity where no component has mass."""
        log_joint = self._log_joint(value)
        # The derivative of log(0) would be NaN in every component.
        largest = lax.stop_gradient(jnp.max(log_joint))
        reached = largest > -jnp.inf
        return jnp.where(reached, logsumexp(jnp.where(reached, log_joint, 0.0)), largest)

    def responsibilities(self, value: Any) -> Float[Array, "K"]:
        r"""$p(k \mid x)$; NaN where no component has mass."""
        return jax.nn.softmax(self._log_joint(value))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[PyTree, Scalar]:
        """One event and its log-density, whatever label it came from."""
        value = self.sample(key)
        return value, self.log_prob(value)

    def _log_joint(self, value: Any) -> Float[Array, "K"]:
        return self.label.log_probs + jax.vmap(lambda c: c.log_prob(value))(self.components)
