r"""Log-masses of counts as deviances, each of which is a sum of terms that do not cancel.

$\log p(x)$ of a count near its mode is of size $\log x$ while its gamma functions are of size
$x\log x$: at a million counts float32 keeps no digit of the difference. Loader's expansion writes
the mass as $-$deviance $-\frac12\log 2\pi x$ and remainders of Stirling's formula instead.

Reference: Loader (2000), Fast and accurate computation of binomial probabilities.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxvae.distributions.numerics.special import stirling_remainder

_LOG_2_HIGH = 355.0 / 512.0  # nine bits, so that its multiples are exact
_LOG_2_LOW = -2.12194440054690583e-4


@jax.custom_jvp
def within_range(exponent: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """Clip a logarithm to two thirds of those that the dtype can exponentiate: 60 in float32.

    Products and ratios of two counts or rates are finite then, and so is every derivative. Beyond
    the end the derivative is the end's, so that an optimiser finds the way back.
    """
    end = round(0.68 * math.log(float(jnp.finfo(exponent.dtype).max)))
    return jnp.clip(exponent, -end, end)


@within_range.defjvp
def _within_range_jvp(primals, tangents):
    return within_range(*primals), tangents[0]


@jax.custom_jvp
def gap(value: Float[Array, "*event"], log_mean: Float[Array, "*event"]) -> Float[Array, "*event"]:
    r"""$x - e^a$, where $e^a$ is known to 29 bits in float32 instead of 24.

    A mean of a million rounded to float32 would shift the mode by 0.06 and the log-mass by 1e-4.
    $e^a = 2^k e^r$ with $|r| < 0.35$, and $e^r = 1 + r + s$ is never summed: where x is near the
    mean, $x - 2^k$ and the difference of that from $2^k r$ are exact.
    """
    dtype = log_mean.dtype
    k = jnp.round(log_mean * (1.0 / math.log(2.0)))
    near = log_mean - k * _LOG_2_HIGH
    shift = k * _LOG_2_LOW
    r = near - shift
    lost = (near - r) - shift
    scale = _power_of_two(k, dtype)
    return ((value - scale) - scale * r) - scale * (lost * (1.0 + r) + _exponential_tail(r))


@gap.defjvp
def _gap_jvp(primals, tangents):
    value, log_mean = primals
    value_dot, log_mean_dot = tangents
    return gap(value, log_mean), value_dot - jnp.exp(log_mean) * log_mean_dot


def _exponential_tail(r: Array) -> Array:
    r"""$e^r - 1 - r$ for $|r| < 0.35$."""
    eps = float(jnp.finfo(r.dtype).eps)
    order = next(n for n in range(2, 30) if 0.35**n / math.factorial(n) < 0.01 * eps)
    series = jnp.full_like(r, 1.0 / math.factorial(order))
    for n in range(order - 1, 1, -1):
        series = series * r + 1.0 / math.factorial(n)
    return r * r * series


def _power_of_two(k: Array, dtype) -> Array:
    """Exact, which exp2 and pow are not on every device."""
    info = jnp.finfo(dtype)
    word = jnp.dtype(f"int{info.bits}")
    bits = (k.astype(word) + np.asarray(1 - info.minexp, word)) << np.asarray(info.nmant, word)
    return jax.lax.bitcast_convert_type(bits, dtype)


@jax.custom_jvp
def excess(u: Float[Array, "*event"], ratio: Float[Array, "*event"]) -> Float[Array, "*event"]:
    r"""$u - \log(1 + u) \ge 0$ for $u > -1$, relative to its value.

    The deviance of x from m, $x\log(x/m) + m - x$, is x times the excess of $m/x - 1$.

    Args:
        u: a difference relative to its base.
        ratio: $1 + u$, which the caller knows without the cancellation where u is near -1.
    """
    near = (ratio > 0.65) & (ratio < 1.55)
    s = jnp.where(near, u, 0.0)
    s = s / (2.0 + s)
    square = s * s
    # Twice the inverse hyperbolic tangent of s is log(1 + u), and 2s + su is u.
    order = next(n for n in range(1, 30) if 0.047**n < 0.25 * float(jnp.finfo(u.dtype).eps))
    series = jnp.full_like(u, 1.0 / (2 * order + 3))
    for n in range(order - 1, -1, -1):
        series = series * square + 1.0 / (2 * n + 3)
    far = jnp.where(near, 1.0, jnp.maximum(ratio, jnp.finfo(u.dtype).tiny))
    return jnp.where(near, s * u - 2.0 * s * square * series, u - jnp.log(far))


@excess.defjvp
def _excess_jvp(primals, tangents):
    u, ratio = primals
    slope = u / jnp.maximum(ratio, jnp.finfo(u.dtype).tiny)
    return excess(u, ratio), slope * tangents[0]


def poisson_log_mass(
    count: Float[Array, "*event"],
    rate: Float[Array, "*event"],
    difference: Float[Array, "*event"],
) -> Float[Array, "*event"]:
    r"""$-x\,e(\lambda/x - 1) - \frac12\log 2\pi x - s(x)$, excess e and remainder s.

    Args:
        count: x.
        rate: $\lambda$.
        difference: $x - \lambda$, the only place where the digits of the rate matter.
    """
    x = jnp.maximum(count, 1.0)
    deviance = x * excess(-difference / x, rate / x)
    positive = -deviance - 0.5 * jnp.log(2.0 * math.pi * x) - stirling_remainder(x)
    return jnp.where(count > 0, positive, -rate)


def is_count(value: Float[Array, "*event"]) -> Array:
    """Whether each value is one of 0, 1, 2, ..."""
    return (value >= 0) & (value < jnp.inf) & (value == jnp.floor(value))
