"""Point masses."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Num

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.numerics.edges import log_zero


@distribution
class Delta:
    r"""A point mass: the posterior of an autoencoder.

    Args:
        point: the only event with mass, any event shape.

    Reference: thesis draft, section 4.2.8 (an autoencoder as the limit of a VAE).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Delta
        >>> float(Delta(jnp.ones(3)).log_prob(jnp.zeros(3)))
        -inf
    """

    support_parameters: ClassVar[tuple[str, ...]] = ("point",)

    point: Num[Array, "*event"]

    @property
    def reparameterised(self) -> bool:
        """True: the sample is the parameter."""
        return True

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.point.shape)

    @property
    def mean(self) -> Num[Array, "*event"]:
        """The point."""
        return self.point

    @property
    def mode(self) -> Num[Array, "*event"]:
        """The point."""
        return self.point

    def sample(self, key: PRNGKey) -> Num[Array, "*event"]:
        """The point, whatever the key."""
        del key
        return self.point

    def log_prob(self, value: Num[Array, "*event"]) -> Scalar:
        """Log-mass: 0 at the point and minus infinity elsewhere."""
        _check.event_shape("Delta.log_prob", self.event_shape, value.shape)
        return jnp.where(jnp.all(value == self.point), 0.0, jnp.sum(log_zero(value)))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Num[Array, "*event"], Scalar]:
        """The point and 0."""
        return self.sample(key), jnp.zeros(())
