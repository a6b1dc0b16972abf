"""Distributions of which some coordinates are observed."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Num

from jaxvae import _check
from jaxvae._types import PRNGKey, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Explicit, Factorised


@distribution
class Masked(Factorised):
    r"""All coordinates, of which the observed ones are scored, $\sum_{i \in O}\log p_i(x_i)$.

    As the coordinates are independent, this is the log-density of the observed part. Unobserved
    entries of a value may be anything, NaN included: they change neither the density nor any
    gradient. Samples, mean, mode and variance are those of every coordinate, so that they fill
    in what is missing; densities and entropies count the observed coordinates only, and the
    entropy is the mean of minus the log-density.

    Args:
        base: a distribution of independent coordinates.
        mask: True where observed, of the event's shape.

    Raises:
        ValueError: if the coordinates of the base are not independent, or the mask is not a
            Boolean array of the event's shape.

    Reference: Little and Rubin (2019), section 6.2, data missing at random.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Masked, Normal
        >>> seen = Masked(Normal.standard((2,)), jnp.array([True, False]))
        >>> round(float(seen.log_prob(jnp.array([0.0, jnp.nan]))), 4)
        -0.9189
    """

    base: Any
    mask: Bool[Array, "*event"]

    def __post_init__(self) -> None:
        if not isinstance(self.base, Factorised):
            raise ValueError(
                f"Masked expected a base of independent coordinates, got "
                f"{type(self.base).__name__}, whose parts cannot be scored one by one; mask the "
                "parts that are independent"
            )
        _check.event_shape("Masked", self.base.event_shape, self.mask.shape)
        if self.mask.dtype != jnp.bool_:
            raise ValueError(
                f"Masked expected a Boolean mask, got {self.mask.dtype}; write mask != 0"
            )

    @property
    def reparameterised(self) -> bool:
        """Whether the base is."""
        return self.base.reparameterised

    @property
    def event_shape(self) -> Shape:
        """Shape of one event, observed or not."""
        return self.base.event_shape

    @property
    def mean(self) -> Float[Array, "*event"]:
        """The mean of every coordinate."""
        return self.base.mean

    @property
    def variance(self) -> Float[Array, "*event"]:
        """The variance of every coordinate."""
        return self.base.variance

    @property
    def mode(self) -> Num[Array, "*event"]:
        """The mode of every coordinate."""
        return self.base.mode

    def sample(self, key: PRNGKey) -> Num[Array, "*event"]:
        """All coordinates, the unobserved ones too."""
        return self.base.sample(key)

    def log_prob_by_factor(self, value: Num[Array, "*event"]) -> Float[Array, "*event"]:
        """The base's where observed, zero elsewhere."""
        filled = jnp.where(self.mask, value, self._inside().astype(value.dtype))
        return jnp.where(self.mask, self.base.log_prob_by_factor(filled), 0.0)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        """The base's where observed, zero elsewhere."""
        return jnp.where(self.mask, self.base.entropy_by_factor(), 0.0)

    def _inside(self) -> Array:
        """A point near which the density is tame: zero times its derivative must be zero.

        The mode will not do, where densities may be infinite; nor the mean, which may be so.
        """
        base = jax.lax.stop_gradient(self.base)
        if isinstance(base, Explicit):
            noise: Any = base.noise  # pyright: ignore[reportAttributeAccessIssue]
            return base.transform(noise.from_uniform(jnp.full(noise.shape, 0.5, noise.dtype)))  # pyright: ignore[reportAttributeAccessIssue]
        return jnp.where(jnp.isfinite(base.mean), base.mean, base.mode)
