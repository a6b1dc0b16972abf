r"""Logarithms and exponentials as unevaluated sums of two numbers, for differences of logarithms.

A concentrated density is $a\,\delta^2/2$ with $\delta$ a difference of logarithms of size $10$ and
$a$ up to $10^6$: rounding a logarithm costs more than the answer's last digits. Functions here
return (leading, rest), whose sum errs by about $2^{-4}$ of a rounding of one, or less.

They are not differentiable; whoever uses them states the derivative, which needs no such care.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

Pair = tuple[Array, Array]


def exact_sum(a: Array, b: Array) -> Pair:
    """Two numbers added: the rounded sum and what rounding lost (Knuth's two-sum)."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def sum_of(*terms: Array) -> Pair:
    """The sum of several numbers, as if added in twice the precision."""
    total, rest = terms[0], jnp.zeros_like(terms[0])
    for term in terms[1:]:
        total, lost = exact_sum(total, term)
        rest = rest + lost
    return exact_sum(total, rest)


def log_pair(x: Array) -> Pair:
    r"""$\log x$ of positive x; meaningless elsewhere.

    With $x = 2^e f$ it is $e\log 2 + 2\,\mathrm{artanh}((f - 1)/(f + 1))$.
    """
    fraction, exponent = jnp.frexp(x)
    low = fraction < math.sqrt(0.5)
    fraction = jnp.where(low, 2.0 * fraction, fraction)
    exponent = (exponent - low.astype(exponent.dtype)).astype(x.dtype)
    top, (bottom, bottom_rest) = fraction - 1.0, exact_sum(fraction, jnp.ones_like(fraction))
    s = top / bottom
    s_rest = (_residual(top, s, bottom) - s * bottom_rest) / bottom
    square = s * s
    series = jnp.zeros_like(x)
    for odd in range(_terms(x), 1, -2):
        series = (series + 1.0 / odd) * square
    coarse, fine = _log_two(x)
    leading, lost = exact_sum(exponent * coarse, 2.0 * s)
    return exact_sum(leading, lost + (2.0 * (s_rest + s * series) + exponent * fine))


def exp_pair(x: Pair) -> Pair:
    """Exponential of a pair, of moderate size."""
    coarse, fine = _log_two(x[0])
    power = jnp.round(x[0] * (1.0 / math.log(2.0)))
    r, r_rest = exact_sum(x[0] - power * coarse, x[1] - power * fine)
    series = jnp.zeros_like(r)
    for order in range(_terms(r), 2, -1):
        series = (series + 1.0) * r / order
    # In this order: the compiler would simplify (1 + r) - 1.
    one_and_r, lost = exact_sum(r, jnp.ones_like(r))
    rest = lost + (r_rest * (1.0 + r) + (series + 1.0) * r * r * 0.5)
    leading, rest = exact_sum(one_and_r, rest)
    scale = power.astype(jnp.int32)
    return jnp.ldexp(leading, scale), jnp.ldexp(rest, scale)


def log_of_pair(x: Pair) -> Pair:
    """Logarithm of a positive pair."""
    leading, rest = log_pair(x[0])
    return exact_sum(leading, rest + x[1] / x[0])


def sum_along_last(x: Pair) -> Pair:
    """Sum of pairs along the last axis, by halves."""
    leading, rest = x
    while leading.shape[-1] > 1:
        half = leading.shape[-1] // 2
        total, lost = exact_sum(leading[..., :half], leading[..., half : 2 * half])
        rests = rest[..., :half] + rest[..., half : 2 * half] + lost
        leading = jnp.concatenate([total, leading[..., 2 * half :]], -1)
        rest = jnp.concatenate([rests, rest[..., 2 * half :]], -1)
    return exact_sum(leading[..., 0], rest[..., 0])


def log_sum_exp(logs: Array) -> Pair:
    """Logarithm of the sum of the exponentials along the last axis."""
    largest = jnp.max(logs, axis=-1)
    total = sum_along_last(exp_pair(exact_sum(logs, -largest[..., None])))
    return sum_of(largest, *log_of_pair(total))


def _log_two(x: Array) -> tuple[float, float]:
    """Two parts of log 2, the first so short that its multiples by exponents are exact."""
    bits = jnp.finfo(x.dtype).nmant - 11
    coarse = math.floor(math.log(2.0) * 2.0**bits) / 2.0**bits
    # log 2 to 37 digits, less its first bits: the difference would cancel in float64.
    fine = (math.log(2.0) - coarse) + 2.3190468138462996e-17
    return coarse, fine


def _terms(x: Array) -> int:
    """How far the series go; the last odd power of artanh, the last power of exp."""
    return 13 if jnp.finfo(x.dtype).bits <= 32 else 23


def _residual(n: Array, a: Array, b: Array) -> Array:
    """N - a b, exactly, where a b agrees with n; safe under contraction to fused operations."""
    a_top, b_top = _top_half(a), _top_half(b)
    a_low, b_low = a - a_top, b - b_top
    return (((n - a_top * b_top) - a_top * b_low) - a_low * b_top) - a_low * b_low


def _top_half(x: Array) -> Array:
    """X without the lower half of its digits."""
    wide = jnp.finfo(x.dtype).bits > 32
    word = jnp.uint64 if wide else jnp.uint32
    mask = (1 << jnp.finfo(x.dtype).bits) - (1 << (27 if wide else 12))
    bits = jax.lax.bitcast_convert_type(x, word) & jnp.asarray(mask, word)
    return jax.lax.bitcast_convert_type(bits, x.dtype)
