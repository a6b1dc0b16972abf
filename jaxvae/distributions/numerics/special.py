r"""Gamma functions of large arguments, with the parts that cancel in densities taken out.

$\log\Gamma(a)$ is of size $a\log a$ while a density near its mode is of size $\log a$. Everything
here is therefore written with the remainder of Stirling's formula, which is small and smooth.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)

# Chebyshev coefficients of x rem(x) in t = 3/(x + 1/2) - 1, for x >= 1; float32 needs eight.
_CHEBYSHEV = (
    8.25536650654306909e-2,
    -1.09767158296793816e-3,
    -3.54871589229580501e-4,
    -3.82539997317977081e-5,
    -1.37336023049870436e-6,
    -6.65671063564692571e-9,
    -2.02775645658948398e-8,
    -9.88517066148243528e-10,
    2.27166800519787121e-10,
    -4.23766939686762114e-11,
    -9.68055341374422366e-13,
    1.28608875834321846e-12,
    -2.81979605029509605e-13,
    1.78236646671068565e-14,
    7.01545178782278799e-15,
    -2.81988533058266826e-15,
    4.95801138313228002e-16,
    -7.59666103995289689e-18,
    -2.52873671918738254e-17,
    9.15014306057634269e-18,
)


def stirling_remainder(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
    r"""$\log\Gamma(x) - [(x - \frac12)\log x - x + \frac12\log 2\pi]$ for $x > 0$, to rounding.

    About $1/12x$ for large x. Below 1 it follows from the value at $x + 1$. Its automatic
    derivative is exact too: $\psi(x) - \log x + 1/2x$, about $-1/12x^2$.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions.numerics.special import stirling_remainder
        >>> round(float(1e6 * stirling_remainder(jnp.asarray(1e5))), 4)
        0.8333
    """
    low = x < 1.0
    above_one = _remainder_from_one(jnp.where(low, x + 1.0, x))
    below = jnp.where(low, x, 0.5)
    step = (below + 0.5) * (jnp.log1p(below) - jnp.log(below)) - 1.0
    return above_one + jnp.where(low, step, 0.0)


def stirling_slope(x: Float[Array, "*event"]) -> Float[Array, "*event"]:
    r"""$\psi(x) - \log x + 1/2x$, the derivative of the remainder."""
    return jax.jvp(stirling_remainder, (x,), (jnp.ones_like(x),))[1]


def log_gamma_ratio(x: Float[Array, "*event"], step: float) -> Float[Array, "*event"]:
    r"""$\log\Gamma(x + s) - \log\Gamma(x) - s\log x$, which vanishes as x grows."""
    main = (x + (step - 0.5)) * jnp.log1p(step / x) - step
    return main + stirling_remainder(x + step) - stirling_remainder(x)


def _remainder_from_one(x: Array) -> Array:
    """Clenshaw's sum of the Chebyshev series."""
    t = 3.0 / (x + 0.5) - 1.0
    terms = _CHEBYSHEV[: 8 if jnp.finfo(x.dtype).bits <= 32 else None]
    following, after_it = jnp.zeros_like(x), jnp.zeros_like(x)
    for coefficient in reversed(terms[1:]):
        following, after_it = coefficient + 2.0 * t * following - after_it, following
    return (terms[0] + t * following - after_it) / x
