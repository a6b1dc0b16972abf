"""A label and a variable that depends on it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.combinators import _stacked
from jaxvae.distributions.combinators.mixture import Mixture
from jaxvae.distributions.discrete.categorical import Categorical


@distribution
class Joint:
    r"""$p(k, x) = \pi_k\,p(x \mid k)$ over pairs of a one-hot label and a value.

    The components are one distribution whose arrays have an axis of K categories in front:
    ``Normal`` with arrays of shape ``(K, D)`` holds K laws of D-vectors.

    Args:
        label: $\pi$, a Categorical with logits ``(K,)``.
        components: $p(x \mid k)$, stacked; in general ``jax.vmap(Family)(arrays)``.

    Raises:
        ValueError: if an array of the components has no leading axis of K.

    Reference: thesis draft, section 4.3.1 and chapter 5.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Categorical, Joint, Normal
        >>> components = Normal(jnp.array([-1.0, 3.0]), jnp.zeros(2))
        >>> pair = Joint(Categorical(jnp.zeros(2)), components)
        >>> float(pair.given(jnp.array([0.0, 1.0])).mean)
        3.0
    """

    label: Categorical
    components: Any

    def __post_init__(self) -> None:
        _stacked.check("Joint", self.label, self.components)

    @property
    def reparameterised(self) -> bool:
        """False: the label jumps as its logits move."""
        return False

    @property
    def event_shape(self) -> tuple:
        """The shapes of the label and of the value."""
        return self.label.event_shape, _stacked.event_shape(self.components)

    def given(self, label: Num[Array, "K"]) -> Any:
        r"""$p(x \mid k)$: the component with parameters $\sum_k w_k\,\theta_k$.

        Args:
            label: the weights $w$; a one-hot vector selects a component exactly, a relaxed one
                blends the unconstrained parameters. Parameters with weight zero may be infinite.
        """
        return _stacked.contract(label.astype(self.label.logits.dtype), self.components)

    def enumerate(self) -> tuple[Float[Array, "K K"], Float[Array, "K"], Any]:
        r"""All labels, $\log\pi$ and the components, for exact sums over the label.

        Returns:
            One-hot labels, their log-probabilities and the components, each stacked along its
            first axis: ``jax.vmap`` a function of one label, log-probability and component.
        """
        logits = self.label.logits
        return jnp.eye(*logits.shape, dtype=logits.dtype), self.label.log_probs, self.components

    def marginal(self) -> Mixture:
        r"""The law of the value, $\sum_k \pi_k\,p(x \mid k)$."""
        return Mixture(self.label, self.components)

    @property
    def mean(self) -> tuple[Float[Array, "K"], PyTree]:
        """The probabilities of the labels and the mean of the mixture."""
        return self.label.mean, self.marginal().mean

    @property
    def mode(self) -> tuple[Float[Array, "K"], PyTree]:
        """The most probable pair: a label and the mode of its component."""
        modes, peaks = jax.vmap(lambda c: (c.mode, c.log_prob(c.mode)))(self.components)
        best = jnp.argmax(self.label.log_probs + peaks)
        label = jax.nn.one_hot(best, *peaks.shape, dtype=self.label.logits.dtype)
        return label, jax.tree.map(lambda leaf: leaf[best], modes)

    def sample(self, key: PRNGKey) -> tuple[Float[Array, "K"], PyTree]:
        """A label, and a value of its component."""
        for_label, for_value = jax.random.split(key)
        label = self.label.sample(for_label)
        return label, self.given(label).sample(for_value)

    def log_prob(self, value: tuple[Num[Array, "K"], Any]) -> Scalar:
        r"""$\log\pi_k + \log p(x \mid k)$."""
        label, x = value
        return self.label.log_prob(label) + self.given(label).log_prob(x)

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[tuple[Float[Array, "K"], PyTree], Scalar]:
        """One pair and its log-density."""
        for_label, for_value = jax.random.split(key)
        label, log_label = self.label.sample_and_log_prob(for_label)
        x, log_x = self.given(label).sample_and_log_prob(for_value)
        return (label, x), log_label + log_x

    def entropy(self) -> Scalar:
        r"""$H(\pi) + \sum_k \pi_k H(p(x \mid k))$, in nats.

        Raises:
            ValueError: if the components have no closed form.
        """
        entropies = jax.vmap(lambda component: component.entropy())(self.components)
        return self.label.entropy() + _stacked.contract(self.label.mean, entropies)
