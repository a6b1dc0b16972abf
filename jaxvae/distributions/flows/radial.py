"""The radial flow."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.flows._factor import Strength, log_one_plus, strength


@distribution
class Radial:
    r"""$f(z) = z + \frac{\beta}{\alpha + r}(z - z_0)$, $r = \|z - z_0\|$: around a point.

    The determinant is $(1 + sm)^{d-1}(1 + sm^2)$ with $m = \alpha/(\alpha + r)$ and
    $s = \beta/\alpha$, positive for $s > -1$, which $s = -1 + \log(1 + (e - 1)e^a)$ makes sure of;
    $a = 0$ is the identity. The inverse solves a quadratic equation for r.

    Args:
        centre: $z_0$, d numbers.
        log_radius: $\log\alpha$, the reach.
        raw_strength: a, from -inf (all that is within reach falls to the centre) to inf (it is
            driven away).

    Reference: Rezende and Mohamed (2015), equation 14 and appendix A.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions.flows import Radial
        >>> flow = Radial(jnp.zeros(2), jnp.zeros(()), jnp.zeros(()))
        >>> flow.forward(jnp.ones(2))[0].tolist()
        [1.0, 1.0]
    """

    centre: Float[Array, " d"]
    log_radius: Scalar
    raw_strength: Scalar

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """The image and its log-determinant."""
        _check.event_shape("Radial.forward", self.centre.shape, x.shape)
        s, offset = strength(self.raw_strength), x - self.centre
        weight, rest = self._weight(_norm(offset))
        # 1 + sm as a sum of positive terms, so that a collapse keeps its digits.
        stretch = rest + s.above * weight
        return self.centre + stretch * offset, self._log_det(s, weight, rest)

    def inverse(self, y: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        r"""The positive root of $r^2 + (\alpha + \beta - R)r - \alpha R$, $R = \|y - z_0\|$."""
        _check.event_shape("Radial.inverse", self.centre.shape, y.shape)
        s, offset = strength(self.raw_strength), y - self.centre
        alpha, far = jnp.exp(self.log_radius), _norm(offset)
        half = 0.5 * (far - alpha * s.above)
        root = jnp.abs(half) + jnp.sqrt(half * half + alpha * far)
        # Of the two roots' product only the form without a difference has its digits.
        r = jnp.where(half > 0, root, alpha * far / root)
        weight, rest = self._weight(r)
        stretch = rest + s.above * weight
        return self.centre + offset / stretch, -self._log_det(s, weight, rest)

    def _weight(self, r: Scalar) -> tuple[Scalar, Scalar]:
        """M and 1 - m."""
        alpha = jnp.exp(self.log_radius)
        return alpha / (alpha + r), r / (alpha + r)

    def _log_det(self, s: Strength, weight: Scalar, rest: Scalar) -> Scalar:
        around = log_one_plus(s, weight, rest)
        outwards = log_one_plus(s, weight * weight, rest * (1.0 + weight))
        return (self.centre.shape[0] - 1.0) * around + outwards


def _norm(x: Float[Array, " d"]) -> Scalar:
    """The Euclidean norm, with derivative 0 at 0."""
    square = jnp.vdot(x, x)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
