"""The planar flow."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import Scalar
from jaxvae.distributions._pytree import distribution
from jaxvae.distributions.flows._factor import log_one_plus, strength


@distribution
class Planar:
    r"""$f(z) = z + \hat u\tanh(w^\top z + b)$: it stretches or presses space along one plane.

    The determinant is $1 + (1 - \tanh^2(w^\top z + b))\,w^\top\hat u$, positive as long as
    $w^\top\hat u > -1$. So $\hat u = u + [m(w^\top u) - w^\top u]\,w/\|w\|^2$ with
    $m(a) = -1 + \log(1 + (e - 1)e^a)$; the paper's m lacks the factor e - 1, with which
    $m(0) = 0$ and small u stay small whatever w is. The inverse has no closed form and is left out.

    Args:
        u: direction, d numbers.
        w: normal of the plane, d numbers.
        b: offset of the plane.

    Raises:
        ValueError: if u and w differ in shape.

    Reference: Rezende and Mohamed (2015), equations 10 to 12 and appendix A.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions.flows import Planar
        >>> y, _ = Planar(jnp.ones(2), jnp.array([1.0, -1.0]), jnp.zeros(())).forward(jnp.ones(2))
        >>> y.tolist()
        [1.0, 1.0]
    """

    u: Float[Array, " d"]
    w: Float[Array, " d"]
    b: Scalar

    def __post_init__(self) -> None:
        _check.same_shape("Planar", u=self.u, w=self.w)

    def forward(self, x: Float[Array, " d"]) -> tuple[Float[Array, " d"], Scalar]:
        """The image and its log-determinant."""
        _check.event_shape("Planar.forward", self.u.shape, x.shape)
        along = strength(jnp.vdot(self.w, self.u))
        square = jnp.vdot(self.w, self.w)
        normal = self.w / jnp.where(square > 0, square, 1.0)
        direction = self.u + along.excess * normal
        distance = jnp.vdot(self.w, x) + self.b
        tanh, decay = jnp.tanh(distance), jnp.exp(-2.0 * jnp.abs(distance))
        # 1 - tanh^2, with all its digits far from the plane.
        slope = 4.0 * decay / jnp.square(1.0 + decay)
        return x + direction * tanh, log_one_plus(along, slope, tanh * tanh)
