"""Counts with more zeros than their family has."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxvae import _check
from jaxvae._types import PRNGKey, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Factorised
from jaxvae.distributions.discrete.bernoulli import Bernoulli
from jaxvae.distributions.discrete.negative_binomial import NegativeBinomial
from jaxvae.distributions.discrete.poisson import Poisson


@distribution
class ZeroInflated(Factorised):
    r"""A count that is replaced by zero with probability $\pi = 1/(1 + e^{-\ell})$.

    $p(0) = \pi + (1 - \pi)p_0(0)$ and $p(x) = (1 - \pi)p_0(x)$ for $x > 0$, each coordinate for
    itself; the mass at zero is summed by its logarithms. Over a NegativeBinomial it is the ZINB
    distribution of single-cell counts.

    Args:
        base: $p_0$, a Poisson or NegativeBinomial of any event shape.
        logits: $\ell$ of an extra zero, the same shape.

    Raises:
        ValueError: if the base is not a distribution of counts, or the shapes differ.

    Reference: Lambert (1992), Zero-inflated Poisson regression; Lopez et al. (2018), Deep
    generative modeling for single-cell transcriptomics.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Poisson, ZeroInflated
        >>> float(ZeroInflated(Poisson(jnp.log(jnp.array(3.0))), jnp.array(0.0)).mean)
        1.5
    """

    base: Poisson | NegativeBinomial
    logits: Float[Array, "*event"]

    def __post_init__(self) -> None:
        if not isinstance(self.base, Poisson | NegativeBinomial):
            raise ValueError(
                f"ZeroInflated expected a Poisson or NegativeBinomial, got "
                f"{type(self.base).__name__}; a distribution with a density has no mass at zero to "
                "add to"
            )
        _check.same_shape("ZeroInflated", base=jax.tree.leaves(self.base)[0], logits=self.logits)

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return tuple(self.logits.shape)

    @property
    def reparameterised(self) -> bool:
        """False: a sample jumps as the parameters move."""
        return False

    def sample(self, key: PRNGKey) -> Float[Array, "*event"]:
        """Whole numbers in the dtype of the base."""
        zero_key, count_key = jax.random.split(key)
        extra = Bernoulli(self.logits).sample(zero_key) > 0
        return jnp.where(extra, 0.0, self.base.sample(count_key))

    def log_prob_by_factor(self, value: Num[Array, "*event"]) -> Float[Array, "*event"]:
        r"""$\log(\pi + (1 - \pi)p_0(0))$ at zero and $\log(1 - \pi) + \log p_0(x)$ elsewhere."""
        counted = jax.nn.log_sigmoid(-self.logits) + self.base.log_prob_by_factor(value)
        zero = value == 0
        at_zero = jnp.where(zero, counted, 0.0)
        return jnp.where(zero, jnp.logaddexp(jax.nn.log_sigmoid(self.logits), at_zero), counted)

    @property
    def mean(self) -> Float[Array, "*event"]:
        r"""$(1 - \pi)\mu_0$."""
        return jax.nn.sigmoid(-self.logits) * self.base.mean

    @property
    def variance(self) -> Float[Array, "*event"]:
        r"""$(1 - \pi)(\sigma_0^2 + \pi\mu_0^2)$."""
        extra = jax.nn.sigmoid(self.logits) * self.base.mean * self.base.mean
        return jax.nn.sigmoid(-self.logits) * (self.base.variance + extra)

    @property
    def mode(self) -> Float[Array, "*event"]:
        """The base's mode, or 0 where that is more probable."""
        mode = self.base.mode
        at_mode, at_zero = map(self.log_prob_by_factor, (mode, jnp.zeros_like(mode)))
        return jnp.where(at_mode > at_zero, mode, 0.0)
