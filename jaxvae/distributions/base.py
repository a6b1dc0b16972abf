"""What every distribution offers."""

from typing import ClassVar, Protocol, runtime_checkable

from jax import Array

from jaxvae._types import PRNGKey, Scalar, Shape


@runtime_checkable
class Distribution(Protocol):
    """The law of ONE event; ``jax.vmap`` makes batches of distributions, samples and densities.

    Densities sum over every axis of the event and are in nats. A distribution is a pytree, so
    stopping its gradients is ``jax.lax.stop_gradient(q).log_prob(z)``.
    """

    reparameterised: ClassVar[bool]
    """Whether gradients of a sample with respect to the parameters are those of the expectation."""

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        ...

    def sample(self, key: PRNGKey) -> Array:
        """Draw one event."""
        ...

    def log_prob(self, value: Array) -> Scalar:
        """Log-density or log-mass of one event, in nats."""
        ...

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Array, Scalar]:
        """Draw one event together with its log-density, sharing what both need."""
        ...

    @property
    def mean(self) -> Array:
        """Expectation of an event."""
        ...
