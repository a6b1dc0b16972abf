"""The distribution of a flow's image."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Scalar, Shape
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.base import Distribution, Explicit
from jaxvae.distributions.flows.base import Flow, inverse
from jaxvae.distributions.noise import Noise


@distribution
class Transformed(Explicit):
    r"""The image $z = f(x)$ of $x \sim p$, with density $q(z) = p(x)/|\det\partial z/\partial x|$.

    Noise is that of the base, the transformation $f \circ g$ with the base's $g$. A sample and its
    density share one pass through the flow; the density of a given value needs the flow's inverse.

    Args:
        base: the distribution of x, with an explicit transformation; events are vectors.
        flow: f.

    Raises:
        ValueError: if the base has no explicit transformation.

    Reference: Rezende and Mohamed (2015), equations 5 to 7; AE + VAE notes, "Gaussian posteriors".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, Transformed
        >>> from jaxvae.distributions.flows import Radial
        >>> flow = Radial(jnp.zeros(2), jnp.zeros(()), jnp.ones(()))
        >>> q = Transformed(Normal.standard((2,)), flow)
        >>> z, log_q = q.sample_and_log_prob(jax.random.key(0))
        >>> bool(abs(q.log_prob(z) - log_q) < 1e-5)
        True
    """

    base: Any
    flow: Flow

    def __post_init__(self) -> None:
        if not hasattr(self.base, "transform"):
            raise ValueError(
                "Transformed expected a base with an explicit transformation of noise, such as "
                f"Normal, got {type(self.base).__name__}"
            )

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return self.base.event_shape

    @property
    def noise(self) -> Noise:
        """That of the base."""
        return self.base.noise

    @property
    def mean(self) -> Float[Array, "*event"]:
        """NaN, as there is no closed form; average samples, or see ``representative``."""
        return jnp.full_like(self.base.mean, jnp.nan)

    def transform(self, noise: Array) -> Float[Array, "*event"]:
        r"""$f(g(\varepsilon))$."""
        return self.flow.forward(self.base.transform(noise))[0]

    def transform_and_log_prob(self, noise: Array) -> tuple[Float[Array, "*event"], Scalar]:
        """The event and its log-density, from one pass through the flow."""
        x, log_prob = self.base.transform_and_log_prob(noise)
        value, log_det = self.flow.forward(x)
        return value, log_prob - log_det

    def log_prob(self, value: Float[Array, "*event"]) -> Scalar:
        r"""$\log p(f^{-1}(z)) + \log|\det\partial f^{-1}(z)/\partial z|$.

        Raises:
            ValueError: if the flow has no inverse.
        """
        _check.event_shape("Transformed.log_prob", self.event_shape, value.shape)
        x, log_det = inverse(self.flow, value)
        return self.base.log_prob(x) + log_det


def representative(distribution: Distribution) -> Any:
    """One event that stands for the distribution, without randomness.

    It is the mean, except for ``Transformed``: there it is the image of the base's mean, a central
    point that is neither the mean nor the mode.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, representative
        >>> representative(Normal(jnp.ones(2), jnp.zeros(2))).tolist()
        [1.0, 1.0]
    """
    if isinstance(distribution, Transformed):
        return distribution.flow.forward(representative(distribution.base))[0]
    return distribution.mean
