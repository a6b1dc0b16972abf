"""KL(q || p) = -H(q) - E_q[log p] in mpmath, from entropies of q and the moments that p asks for.

The formulas are those of textbooks, which cancel: sixty digits pay for it.
"""

import dataclasses
from collections.abc import Callable

import jax
import mpmath
from mpmath import mpf

GAMMAS = ("Gamma", "Exponential", "Erlang", "ChiSquared")
WEIBULLS = ("Weibull", "Rayleigh")


@dataclasses.dataclass
class Known:
    """What is known of q; what a p asks for and q lacks has no closed form."""

    entropy: mpf
    mean: mpf | None = None
    variance: mpf | None = None
    log_mean: mpf | None = None
    log_variance: mpf | None = None
    power: Callable | None = None  # k to E x^k
    distance: Callable | None = None  # c to E|x - c|
    exponential: Callable | None = None  # s to E e^(-x/s)
    low: mpf | None = None
    high: mpf | None = None


def divergence(q, p) -> float:
    """Of two scalar distributions, from their stored parameters."""
    with mpmath.workdps(60):
        known = KNOWN[_family(q)](*_parameters(q))
        return float(-known.entropy + CROSS[_family(p)](known, *_parameters(p)))


def _family(d):
    name = type(d).__name__
    return "Gamma" if name in GAMMAS else "Weibull" if name in WEIBULLS else name


def _parameters(d):
    name, held = type(d).__name__, [mpf(float(leaf)) for leaf in jax.tree.leaves(d)]
    log_two = mpmath.log(2)
    return {
        "Exponential": lambda: (mpf(0), held[0]),
        "Erlang": lambda: (mpmath.log(d.shape), held[0]),
        "ChiSquared": lambda: (held[0] - log_two, -log_two),
        "Rayleigh": lambda: (held[0] + log_two / 2, log_two),
    }.get(name, lambda: held)()


def _normal(m, b):
    s = mpmath.exp(b)

    def distance(c):
        t = (m - c) / s
        return s * (
            mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-t * t / 2) + t * mpmath.erf(t / mpmath.sqrt(2))
        )

    return Known(
        b + mpmath.log(2 * mpmath.pi * mpmath.e) / 2,
        m,
        s * s,
        distance=distance,
        exponential=lambda r: mpmath.exp(-m / r + s * s / (2 * r * r)),
    )


def _uniform(a, b):
    w = mpmath.exp(b)

    def distance(c):
        below, above = c - a, a + w - c
        if min(below, above) < 0:
            return abs(a + w / 2 - c)
        return (below**2 + above**2) / (2 * w)

    return Known(b, a + w / 2, w * w / 12, distance=distance, low=a, high=a + w)


def _truncated_normal(m, b, low, high):
    s = mpmath.exp(b)
    ends = [(low - m) / s, (high - m) / s]
    mass = mpmath.ncdf(ends[1]) - mpmath.ncdf(ends[0])
    below, above = (mpmath.npdf(end) / mass for end in ends)
    mean, square = below - above, 1 + ends[0] * below - ends[1] * above
    entropy = b + mpmath.log(2 * mpmath.pi) / 2 + mpmath.log(mass) + square / 2
    return Known(entropy, m + s * mean, s * s * (square - mean * mean), low=low, high=high)


def _laplace(m, b):
    s = mpmath.exp(b)
    return Known(
        1 + mpmath.log(2) + b,
        m,
        2 * s * s,
        distance=lambda c: abs(m - c) + s * mpmath.exp(-abs(m - c) / s),
    )


def _logistic(m, b):
    s = mpmath.exp(b)

    def distance(c):
        return 2 * s * mpmath.log(2 * mpmath.cosh((m - c) / (2 * s)))

    return Known(b + 2, m, (mpmath.pi * s) ** 2 / 3, distance=distance)


def _gumbel(m, b):
    s = mpmath.exp(b)
    return Known(
        b + mpmath.euler + 1,
        m + mpmath.euler * s,
        (mpmath.pi * s) ** 2 / 6,
        exponential=lambda r: mpmath.exp(-m / r) * mpmath.gamma(1 + s / r),
    )


def _student_t(m, b, log_df):
    n, s = mpmath.exp(log_df), mpmath.exp(b)
    entropy = (n + 1) / 2 * (mpmath.digamma((n + 1) / 2) - mpmath.digamma(n / 2))
    entropy += mpmath.log(n) / 2 + mpmath.log(mpmath.beta(n / 2, mpf(1) / 2)) + b
    return Known(entropy, m, s * s * n / (n - 2) if n > 2 else mpmath.inf)


def _triangular(a, b, logit):
    w, m = mpmath.exp(b), 1 / (1 + mpmath.exp(-logit))
    return Known(
        mpf(1) / 2 + b - mpmath.log(2),
        a + w * (1 + m) / 3,
        w * w * (1 - m + m * m) / 18,
        low=a,
        high=a + w,
    )


def _gamma(log_a, log_r):
    a = mpmath.exp(log_a)
    return Known(
        a - log_r + mpmath.loggamma(a) + (1 - a) * mpmath.digamma(a),
        mpmath.exp(log_a - log_r),
        mpmath.exp(log_a - 2 * log_r),
        mpmath.digamma(a) - log_r,
        mpmath.psi(1, a),
        lambda k: mpmath.exp(mpmath.loggamma(a + k) - mpmath.loggamma(a) - k * log_r),
        low=mpf(0),
    )


def _weibull(log_s, log_k):
    k, s = mpmath.exp(log_k), mpmath.exp(log_s)
    return Known(
        mpmath.euler * (1 - 1 / k) + log_s - log_k + 1,
        s * mpmath.gamma(1 + 1 / k),
        s * s * (mpmath.gamma(1 + 2 / k) - mpmath.gamma(1 + 1 / k) ** 2),
        log_mean=log_s - mpmath.euler / k,
        log_variance=mpmath.pi**2 / (6 * k * k),
        power=lambda order: s**order * mpmath.gamma(1 + order / k),
        low=mpf(0),
    )


def _log_normal(m, b):
    v = mpmath.exp(2 * b)
    return Known(
        m + b + mpmath.log(2 * mpmath.pi * mpmath.e) / 2,
        mpmath.exp(m + v / 2),
        mpmath.expm1(v) * mpmath.exp(2 * m + v),
        log_mean=m,
        log_variance=v,
        power=lambda k: mpmath.exp(k * m + k * k * v / 2),
        low=mpf(0),
    )


def _reciprocal(a, log_w):
    w = mpmath.exp(log_w)
    low, high = mpmath.exp(a), mpmath.exp(a + w)
    return Known(
        a + w / 2 + log_w, (high - low) / w, None, a + w / 2, w * w / 12, low=low, high=high
    )


def _pareto(log_m, log_a):
    m, a = mpmath.exp(log_m), mpmath.exp(log_a)
    mean = a * m / (a - 1) if a > 1 else mpmath.inf
    return Known(1 + log_m - log_a + 1 / a, mean, log_mean=log_m + 1 / a, low=m)


def _gompertz(log_n, log_b):
    time = mpmath.exp(mpmath.exp(log_n)) * mpmath.e1(mpmath.exp(log_n))
    return Known(1 - log_n - log_b - time, time * mpmath.exp(-log_b))


def _beta(log_a, log_b):
    a, b = mpmath.exp(log_a), mpmath.exp(log_b)
    whole = mpmath.digamma(a + b)
    to_zero, to_one = mpmath.digamma(a) - whole, mpmath.digamma(b) - whole
    entropy = mpmath.log(mpmath.beta(a, b)) - (a - 1) * to_zero - (b - 1) * to_one
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    known = Known(entropy, a / (a + b), variance, to_zero, low=mpf(0), high=mpf(1))
    known.power = lambda _: to_one  # the mean of log(1 - x)
    return known


def _f(log_n, log_m):
    a, b = mpmath.exp(log_n) / 2, mpmath.exp(log_m) / 2
    entropy = mpmath.log(mpmath.beta(a, b)) + mpmath.log(b / a) + (1 - a) * mpmath.digamma(a)
    entropy += (a + b) * mpmath.digamma(a + b) - (1 + b) * mpmath.digamma(b)
    return Known(entropy, b / (b - 1) if b > 1 else mpmath.inf)


def _poisson(log_rate):
    return Known(mpf(0), mpmath.exp(log_rate), log_mean=log_rate)


def _cauchy(m, b):
    known = Known(mpmath.log(4 * mpmath.pi) + b)
    s = mpmath.exp(b)

    def log_distance(c, r):
        return mpmath.log((s + r) ** 2 + (m - c) ** 2)  # the mean of log((x - c)^2 + r^2)

    known.power = log_distance
    return known


KNOWN = {
    "Normal": _normal,
    "Uniform": _uniform,
    "Laplace": _laplace,
    "Logistic": _logistic,
    "Gumbel": _gumbel,
    "StudentT": _student_t,
    "Triangular": _triangular,
    "TruncatedNormal": _truncated_normal,
    "Gamma": _gamma,
    "Weibull": _weibull,
    "LogNormal": _log_normal,
    "Reciprocal": _reciprocal,
    "Pareto": _pareto,
    "Gompertz": _gompertz,
    "Beta": _beta,
    "F": _f,
    "Poisson": _poisson,
    "Cauchy": _cauchy,
}


def _to_normal(q, m, b):
    square = q.variance + (q.mean - m) ** 2
    return b + mpmath.log(2 * mpmath.pi) / 2 + square / (2 * mpmath.exp(2 * b))


def _to_uniform(q, a, b):
    return b if q.low >= a and q.high <= a + mpmath.exp(b) else mpmath.inf


def _to_gamma(q, log_a, log_r):
    a = mpmath.exp(log_a)
    if q.low is not None and q.low < 0:
        return mpmath.inf
    of_log = (a - 1) * q.log_mean if a != 1 else 0
    return mpmath.loggamma(a) - a * log_r - of_log + mpmath.exp(log_r) * q.mean


def _to_weibull(q, log_s, log_k):
    k = mpmath.exp(log_k)
    return k * log_s - log_k - (k - 1) * q.log_mean + q.power(k) * mpmath.exp(-k * log_s)


def _to_log_normal(q, m, b):
    return q.log_mean + _to_normal(Known(mpf(0), q.log_mean, q.log_variance), m, b)


def _to_gumbel(q, m, b):
    s = mpmath.exp(b)
    return b + (q.mean - m) / s + mpmath.exp(m / s) * q.exponential(s)


def _to_pareto(q, log_m, log_a):
    a = mpmath.exp(log_a)
    if q.low < mpmath.exp(log_m):
        return mpmath.inf
    return (a + 1) * q.log_mean - log_a - a * log_m


def _to_reciprocal(q, a, log_w):
    w = mpmath.exp(log_w)
    inside = q.low >= mpmath.exp(a) and q.high <= mpmath.exp(a + w)
    return q.log_mean + log_w if inside else mpmath.inf


def _to_beta(q, log_a, log_b):
    a, b = mpmath.exp(log_a), mpmath.exp(log_b)
    return mpmath.log(mpmath.beta(a, b)) - (a - 1) * q.log_mean - (b - 1) * q.power(1)


CROSS = {
    "Normal": _to_normal,
    "Uniform": _to_uniform,
    "Laplace": lambda q, m, b: mpmath.log(2) + b + q.distance(m) * mpmath.exp(-b),
    "Gumbel": _to_gumbel,
    "Gamma": _to_gamma,
    "Weibull": _to_weibull,
    "LogNormal": _to_log_normal,
    "Pareto": _to_pareto,
    "Reciprocal": _to_reciprocal,
    "Beta": _to_beta,
    # The entropy that both sides leave out is the same: only the mean enters.
    "Poisson": lambda q, a: q.mean * (q.log_mean - a) + mpmath.exp(a) - q.mean,
    "Cauchy": lambda q, m, b: mpmath.log(mpmath.pi) - b + q.power(m, mpmath.exp(b)),
}
