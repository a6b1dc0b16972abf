r"""Kullback-Leibler divergences between Gamma variables, and between fractions of their sums.

With the remainder $R$ of Stirling's formula and $e(\delta) = e^\delta - 1 - \delta$, the
divergence of Gamma variables of concentrations $a$ and $b$, whose means have the ratio
$e^\delta$, is the sum of three terms that are never negative,

$$KL = b\,e(\delta) + \tfrac12 e(\log\tfrac ba) + R(b) - R(a) - (b - a)R'(a),$$

the last of them because $R$ is convex. The usual form, with $\log\Gamma$ and $\psi$, is the
difference of terms of size $a\log a$.

Reference: Penny (2001), KL-divergences of Normal, Gamma, Dirichlet and Wishart densities.
"""

from collections.abc import Callable
from itertools import product

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.distributions.composition._log_gamma import excess
from jaxvae.distributions.composition.beta import Beta
from jaxvae.distributions.composition.dirichlet import Dirichlet
from jaxvae.distributions.divergence._forms import GAMMAS, as_gamma, log_ratio
from jaxvae.distributions.numerics.pair import log_sum_exp, sum_of
from jaxvae.distributions.numerics.special import stirling_remainder, stirling_slope


def _gamma_gamma(q, p) -> Array:
    r"""$(a - b)\psi(a) - \log\Gamma(a) + \log\Gamma(b) + b\log\frac rs + a\frac{s - r}r$.

    For rates $r$ and $s$; between exponential variables $e(\log s/r)$. Penny (2001).
    """
    first, second = as_gamma(q), as_gamma(p)
    deviation = log_ratio(first.log_mean, second.log_mean)
    return second.concentration * excess(deviation) + _of_shapes(
        first.concentration,
        second.concentration,
        second.log_concentration - first.log_concentration,
    )


def _of_shapes(a: Array, b: Array, log_growth: Array) -> Array:
    r"""$\frac12 e(g) + R(b) - R(a) - (b - a)R'(a)$ with $g = \log\frac ba$."""
    remainders = stirling_remainder(b) - stirling_remainder(a)
    tangent = a * jnp.expm1(log_growth) * stirling_slope(a)
    return 0.5 * excess(log_growth) + (remainders - tangent)


@jax.custom_jvp
def _log_fraction_ratios(log_a: Array, log_b: Array) -> Array:
    r"""$\log(a_k/A) - \log(b_k/B)$ along the last axis, to rounding."""
    of_a, of_b = ([part[..., None] for part in log_sum_exp(logs)] for logs in (log_a, log_b))
    leading, rest = sum_of(log_a, -log_b, *[-part for part in of_a], *of_b)
    return leading + rest


@_log_fraction_ratios.defjvp
def _log_fraction_ratios_jvp(primals, tangents):
    def of(logs, change):
        return change - jnp.sum(jax.nn.softmax(logs) * change, axis=-1, keepdims=True)

    first, second = (of(*pair) for pair in zip(primals, tangents, strict=True))
    return _log_fraction_ratios(*primals), first - second


def _fractions(log_a: Array, log_b: Array) -> Array:
    r"""$\log B(b) - \log B(a) + \sum_k (a_k - b_k)(\psi(a_k) - \psi(\sum_j a_j))$, Penny (2001).

    Independent Gamma variables of one rate are their sum and its fractions, which are independent:
    so it is the sum of the divergences of the variables less that of their sums.
    """
    a, b = jnp.exp(log_a), jnp.exp(log_b)
    means = jnp.sum(b * excess(_log_fraction_ratios(log_a, log_b)), axis=-1)
    whole_a, whole_b = jnp.sum(a, axis=-1), jnp.sum(b, axis=-1)
    log_growth = jax.nn.logsumexp(log_b, axis=-1) - jax.nn.logsumexp(log_a, axis=-1)
    parts = jnp.sum(_of_shapes(a, b, log_b - log_a), axis=-1)
    return means + (parts - _of_shapes(whole_a, whole_b, log_growth))


def _beta_beta(q: Beta, p: Beta) -> Array:
    """That of the fractions of two parts."""
    first, second = (jnp.stack([d.log_alpha, d.log_beta], -1) for d in (q, p))
    return _fractions(first, second)


def _dirichlet_dirichlet(q: Dirichlet, p: Dirichlet) -> Array:
    """That of the fractions, one number for each independent factor."""
    return _fractions(q.log_concentration, p.log_concentration)


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    **dict.fromkeys(product(GAMMAS, GAMMAS), _gamma_gamma),
    (Beta, Beta): _beta_beta,
    (Dirichlet, Dirichlet): _dirichlet_dirichlet,
}
