"""What every distribution offers, and what follows from a density and a transformation."""

import dataclasses
import inspect
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar, Shape
from jaxvae.distributions.noise import Noise


class _WithoutMean(type(Protocol)):
    """Tell whether there is a ``mean`` without asking for it, which would compute it."""

    def __instancecheck__(cls, instance: Any) -> bool:
        names = {
            name
            for base in cls.__mro__
            if base not in (Protocol, object) and isinstance(base, _WithoutMean)
            for name in vars(base)
            if not name.startswith("_")
        }
        has_mean = inspect.getattr_static(instance, "mean", None) is not None
        return has_mean and all(hasattr(instance, name) for name in names - {"mean"})


@runtime_checkable
class Distribution(Protocol, metaclass=_WithoutMean):
    """The distribution of ONE event; ``jax.vmap`` makes batches, also of samples and densities.

    Densities sum over every axis of the event and are in nats. A distribution is a pytree, so
    stopping its gradients is ``jax.lax.stop_gradient(q).log_prob(z)``.
    """

    @property
    def reparameterised(self) -> bool:
        """Whether gradients of a sample with respect to the parameters are those of the mean."""
        ...

    @property
    def event_shape(self) -> PyTree:
        """Shape of one event; a tuple of shapes where an event has several parts."""
        ...

    def sample(self, key: PRNGKey) -> PyTree:
        """Draw one event."""
        ...

    def log_prob(self, value: Any) -> Scalar:
        """Log-density or log-mass of one event, in nats."""
        ...

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[PyTree, Scalar]:
        """Draw one event together with its log-density, sharing what both need."""
        ...

    @property
    def mean(self) -> PyTree:
        """Expectation of an event; infinite or NaN where it is infinite or undefined."""
        ...


@runtime_checkable
class Reparameterisable(Distribution, Protocol):
    r"""A distribution with an explicit transformation, $z = g(\text{parameters}, \varepsilon)$.

    Common random numbers, antithetic pairs and quasi-Monte Carlo points are choices of
    $\varepsilon$.
    """

    @property
    def noise(self) -> Noise:
        r"""The distribution of $\varepsilon$, which has no parameters."""
        ...

    def transform(self, noise: Array) -> Array:
        r"""$g(\text{parameters}, \varepsilon)$."""
        ...

    def transform_and_log_prob(self, noise: Array) -> tuple[Array, Scalar]:
        """The event and its log-density, sharing what both need."""
        ...


class Explicit:
    """Sampling by an explicit transformation: what follows from ``noise`` and ``transform``."""

    @property
    def reparameterised(self) -> bool:
        """True: samples are a function of the parameters."""
        return True

    def sample(self: Any, key: PRNGKey) -> Array:
        """The transformation of fresh noise."""
        return self.transform(self.noise.sample(key))

    def transform_and_log_prob(self: Any, noise: Any) -> tuple[Array, Scalar]:
        """The event that the noise becomes, and its log-density."""
        value = self.transform(noise)
        return value, self.log_prob(value)

    def sample_and_log_prob(self: Any, key: PRNGKey) -> tuple[Array, Scalar]:
        """One event and its log-density."""
        return self.transform_and_log_prob(self.noise.sample(key))


class Factorised:
    """Independent coordinates: what follows from ``log_prob_by_factor``, the density of each.

    All fields of a family that are arrays have the shape of the event.
    """

    def __post_init__(self: Any) -> None:
        _check.same_shape(type(self).__name__, **_arrays(self))

    @property
    def event_shape(self: Any) -> Shape:
        """Shape of one event."""
        return tuple(next(iter(_arrays(self).values())).shape)

    def log_prob(self: Any, value: Num[Array, "*event"]) -> Scalar:
        """Log-density or log-mass of one event, in nats; minus infinity outside the support."""
        value = jnp.asarray(value)
        _check.event_shape(f"{type(self).__name__}.log_prob", self.event_shape, value.shape)
        return jnp.sum(self.log_prob_by_factor(value))

    def sample_and_log_prob(self: Any, key: PRNGKey) -> tuple[Array, Scalar]:
        """One event and its log-density or log-mass."""
        value = self.sample(key)
        return value, self.log_prob(value)

    def entropy_by_factor(self) -> Float[Array, "*event"]:
        """Entropy of each coordinate, in nats.

        Raises:
            ValueError: if the family has no closed form.
        """
        raise ValueError(
            f"{type(self).__name__} has no closed-form entropy; average -log_prob over samples, "
            "or use kl=objectives.monte_carlo in a bound"
        )

    def entropy(self) -> Scalar:
        """Entropy of one event, in nats.

        Raises:
            ValueError: if the family has no closed form.
        """
        return jnp.sum(self.entropy_by_factor())


def _arrays(distribution: Any) -> dict[str, Array]:
    """The fields that are no settings."""
    fields = dataclasses.fields(distribution)
    names = [field.name for field in fields if not field.metadata.get("static")]
    return {name: getattr(distribution, name) for name in names}
