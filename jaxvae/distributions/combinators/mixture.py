"""A label with K categories and a variable that depends on it: together, or the variable alone."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp
from jaxtyping import Float, Num

from jaxvae._types import PRNGKey, PyTree, Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.discrete.categorical import Categorical


@distribution
class Joint:
    r"""$p(k, x) = \pi_k\,p(x \mid k)$ over pairs of a one-hot label and a value.

    The components are one distribution whose arrays have an axis of K categories in front:
    ``Normal`` with arrays of shape ``(K, D)`` holds K distributions of D-vectors.

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
        check_stacked("Joint", self.label, self.components)

    @property
    def reparameterised(self) -> bool:
        """False: the label jumps as its logits move."""
        return False

    @property
    def event_shape(self) -> tuple:
        """The shapes of the label and of the value."""
        return self.label.event_shape, component_shape(self.components)

    def given(self, label: Num[Array, "K"]) -> Any:
        r"""$p(x \mid k)$: the component with parameters $\sum_k w_k\,\theta_k$.

        Args:
            label: the weights $w$; a one-hot vector selects a component exactly, a relaxed one
                blends the unconstrained parameters. Parameters with weight zero may be infinite.
        """
        return contract(label.astype(self.label.logits.dtype), self.components)

    def enumerate(self) -> tuple[Float[Array, "K K"], Float[Array, "K"], Any]:
        r"""All labels, $\log\pi$ and the components, for exact sums over the label.

        Returns:
            One-hot labels, their log-probabilities and the components, each stacked along its
            first axis: ``jax.vmap`` a function of one label, log-probability and component.
        """
        logits = self.label.logits
        return jnp.eye(*logits.shape, dtype=logits.dtype), self.label.log_probs, self.components

    def marginal(self) -> "Mixture":
        r"""The distribution of the value alone, $\sum_k \pi_k\,p(x \mid k)$."""
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
        return self.label.entropy() + contract(self.label.mean, entropies)


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
        check_stacked("Mixture", self.label, self.components)

    @property
    def reparameterised(self) -> bool:
        """False: a sample jumps from one component to another as the weights move."""
        return False

    @property
    def event_shape(self) -> Any:
        """Shape of one event, that of a component."""
        return component_shape(self.components)

    def joint(self) -> "Joint":
        """The distribution of label and value together."""
        return Joint(self.label, self.components)

    @property
    def mean(self) -> PyTree:
        r"""$\sum_k \pi_k\mu_k$."""
        return contract(self.label.mean, jax.vmap(lambda c: c.mean)(self.components))

    @property
    def variance(self) -> PyTree:
        r"""$\sum_k \pi_k(\sigma_k^2 + (\mu_k - \mu)^2)$, of every coordinate."""
        means, variances = jax.vmap(lambda c: (c.mean, c.variance))(self.components)

        def spread(mean: Array, means: Array, variances: Array) -> Array:
            return variances + jnp.square(means - mean[None])

        return contract(self.label.mean, jax.tree.map(spread, self.mean, means, variances))

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


def check_stacked(owner: str, label: Categorical, components: Any) -> None:
    """Raise unless every array of the components has an axis of the label's categories in front."""
    if len(label.event_shape) != 1:
        raise ValueError(
            f"{owner} expected a label with logits of shape (K,), got {label.event_shape}; "
            "jax.vmap over further axes, or describe independent labels with Product"
        )
    leading = (label.event_shape[0],)
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(components)]
    if any(shape[:1] != leading for shape in shapes):
        raise ValueError(
            f"{owner} expected components whose arrays have a leading axis of {leading[0]} "
            f"categories, got shapes {shapes}; build them with jax.vmap(Family)(arrays)"
        )


def component_shape(components: Any) -> Shape | tuple:
    """Shape of one event of one component."""
    return jax.tree.map(lambda leaf: leaf[0], components).event_shape


def contract(weights: Float[Array, "K"], stacked: PyTree) -> PyTree:
    r"""$\sum_k w_k a_k$ for every array; a category without weight may hold infinities.

    Only terms that would be $0 \cdot \infty$ are left out, so that the derivative with respect to
    a weight of zero is still $a_k$: a straight-through label depends on it. Integers and flags
    are those of the heaviest category.
    """

    def one(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf[jnp.argmax(weights)]
        column = weights.astype(leaf.dtype).reshape(-1, *(1,) * (leaf.ndim - 1))
        counted = jnp.where(jnp.isfinite(leaf) | (column != 0), leaf, 0.0)
        return jnp.sum(column * counted, axis=0)

    return jax.tree.map(one, stacked)
