"""Observations whose times are random too."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions._pytree import distribution


@distribution
class Timed:
    r"""Values together with the random times of their observation, a Poisson process.

    $$\log p(x, t) = \log p(x \mid t) + \sum_i\log\lambda(t_i) - \int\lambda(t)\,dt$$

    The times themselves enter only through the rates at them; an event is the values.

    Args:
        base: the distribution of the values given their times.
        log_rates: $\log\lambda(t_i)$, shape (time,).
        counted: (time,), True where a time is an observation's and not padding.
        expected: $\int\lambda(t)\,dt$ over the time of observation, the mean number of times.

    Raises:
        ValueError: if rates and their mask differ in shape.

    Reference: Chen et al. (2018), section 5, Poisson process likelihoods.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, Timed
        >>> timed = Timed(Normal.standard((2,)), jnp.zeros(2), jnp.ones(2, bool), jnp.array(3.0))
        >>> round(float(timed.log_prob(jnp.zeros(2))), 4)
        -4.8379
    """

    base: Any
    log_rates: Float[Array, " time"]
    counted: Bool[Array, " time"]
    expected: Scalar

    def __post_init__(self) -> None:
        _check.same_shape("Timed", log_rates=self.log_rates, counted=self.counted)

    @property
    def reparameterised(self) -> bool:
        """Whether the values are."""
        return self.base.reparameterised

    @property
    def event_shape(self) -> PyTree:
        """Shape of the values."""
        return self.base.event_shape

    @property
    def mean(self) -> PyTree:
        """The mean of the values."""
        return self.base.mean

    def sample(self, key: PRNGKey) -> PyTree:
        """Values at the given times."""
        return self.base.sample(key)

    def log_prob(self, value: Any) -> Scalar:
        """Of the values and of their times."""
        return self.base.log_prob(value) + self._log_prob_of_times()

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[PyTree, Scalar]:
        """Values at the given times, and the log-density of both."""
        value, log_prob = self.base.sample_and_log_prob(key)
        return value, log_prob + self._log_prob_of_times()

    def _log_prob_of_times(self) -> Scalar:
        return jnp.sum(jnp.where(self.counted, self.log_rates, 0)) - self.expected
