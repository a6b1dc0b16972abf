"""Independent parts of one event."""

from typing import Any

import jax

from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions._pytree import distribution


@distribution
class Product:
    r"""A tuple of independent variables, $p(x_1, \dots, x_n) = \prod_i p_i(x_i)$.

    The parts may be of different families and have events of any shape.

    Args:
        factors: the distributions $p_i$, one or more.

    Raises:
        ValueError: if there are no factors.

    Reference: thesis draft, section 4.3, step 2 (factoring a model over several variables).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Bernoulli, Product, Normal
        >>> mixed = Product((Normal.standard((2,)), Bernoulli(jnp.zeros(3))))
        >>> round(float(mixed.log_prob((jnp.zeros(2), jnp.ones(3)))), 4)
        -3.9173
    """

    factors: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.factors:
            raise ValueError(
                "Product expected one or more distributions, got none; give at least one"
            )

    @property
    def reparameterised(self) -> bool:
        """Whether all factors are."""
        return all(factor.reparameterised for factor in self.factors)

    @property
    def event_shape(self) -> tuple:
        """The shapes of the parts."""
        return tuple(factor.event_shape for factor in self.factors)

    @property
    def mean(self) -> tuple:
        """The means of the parts."""
        return tuple(factor.mean for factor in self.factors)

    @property
    def variance(self) -> tuple:
        """The variances of the parts."""
        return tuple(factor.variance for factor in self.factors)

    @property
    def mode(self) -> tuple:
        """The modes of the parts."""
        return tuple(factor.mode for factor in self.factors)

    def sample(self, key: PRNGKey) -> tuple:
        """One draw of every part."""
        keys = jax.random.split(key, len(self.factors))
        return tuple(f.sample(k) for f, k in zip(self.factors, keys, strict=True))

    def log_prob(self, value: tuple) -> Scalar:
        r"""$\sum_i \log p_i(x_i)$."""
        if not isinstance(value, tuple | list) or len(value) != len(self.factors):
            got = len(value) if isinstance(value, tuple | list) else type(value).__name__
            raise ValueError(
                f"Product.log_prob expected a tuple of {len(self.factors)} parts, "
                f"got {got}; give one event for each factor"
            )
        return _total(f.log_prob(x) for f, x in zip(self.factors, value, strict=True))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[PyTree, Scalar]:
        """One draw of every part, and their log-density."""
        keys = jax.random.split(key, len(self.factors))
        pairs = [f.sample_and_log_prob(k) for f, k in zip(self.factors, keys, strict=True)]
        return tuple(value for value, _ in pairs), _total(log_prob for _, log_prob in pairs)

    def entropy(self) -> Scalar:
        """The sum of the entropies, in nats.

        Raises:
            ValueError: if a factor has no closed form.
        """
        return _total(factor.entropy() for factor in self.factors)


def _total(terms) -> Scalar:
    first, *rest = terms
    return sum(rest, start=first)
