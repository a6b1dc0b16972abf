r"""Kullback-Leibler divergences of location-scale families, among themselves and from Normals.

Written with $e(\delta) = e^\delta - 1 - \delta$, which is never negative and keeps its digits near
zero. Towards a Normal all that counts is the mean $m$ and the variance $v$ of q,

$$KL(q \| N(\mu, \sigma^2)) = KL(N(m, v) \| N(\mu, \sigma^2)) + \tfrac12\log 2\pi e v - H(q),$$

where the negentropy $\tfrac12\log 2\pi e v - H(q)$ has neither location nor scale.

Reference: Cover and Thomas (2006), theorem 8.6.5, for the split; each pair has its own.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae.distributions.composition._log_gamma import excess
from jaxvae.distributions.divergence import gaussian
from jaxvae.distributions.inversion.cauchy import Cauchy
from jaxvae.distributions.inversion.gumbel import Gumbel
from jaxvae.distributions.inversion.logistic import Logistic
from jaxvae.distributions.location_scale.laplace import Laplace
from jaxvae.distributions.location_scale.low_rank_normal import LowRankNormal
from jaxvae.distributions.location_scale.multivariate_normal import MultivariateNormal
from jaxvae.distributions.location_scale.multivariate_student_t import MultivariateStudentT
from jaxvae.distributions.location_scale.normal import Normal
from jaxvae.distributions.location_scale.student_t import StudentT
from jaxvae.distributions.location_scale.triangular import Triangular
from jaxvae.distributions.location_scale.uniform import Uniform
from jaxvae.distributions.numerics.edges import inverse_scale, log1p_square, steps
from jaxvae.distributions.numerics.special import HALF_LOG_TWO_PI

_EULER = float(np.euler_gamma)
_LOG_TWO = math.log(2.0)
NORMAL_ENTROPY = HALF_LOG_TWO_PI + 0.5
_LOG_STD_GUMBEL = 0.5 * math.log(math.pi**2 / 6.0)
_LOG_STD_LOGISTIC = 0.5 * math.log(math.pi**2 / 3.0)
_LOG_STD_UNIFORM = -0.5 * math.log(12.0)


def by_moments(mean_gap: Array, log_std: Array, negentropy: Array | float, p: Normal) -> Array:
    r"""$\tfrac12 e(2\log\frac{\sqrt v}\sigma) + \tfrac{(m - \mu)^2}{2\sigma^2}$ and the negentropy.

    Args:
        mean_gap: $m - \mu$.
        log_std: $\log\sqrt v$.
        negentropy: $\frac12\log 2\pi e v - H(q)$.
        p: the Normal.
    """
    shift = mean_gap * inverse_scale(p.log_scale)
    return 0.5 * (excess(2.0 * (log_std - p.log_scale)) + shift * shift) + negentropy


def _laplace_normal(q: Laplace, p: Normal) -> Array:
    r"""Variance $2s^2$, entropy $\log 2s + 1$."""
    log_std = q.log_scale + 0.5 * _LOG_TWO
    return by_moments(q.loc - p.loc, log_std, 0.5 * (math.log(math.pi) - 1.0), p)


def _logistic_normal(q: Logistic, p: Normal) -> Array:
    r"""Variance $\pi^2s^2/3$, entropy $\log s + 2$."""
    log_std = q.log_scale + _LOG_STD_LOGISTIC
    return by_moments(q.loc - p.loc, log_std, NORMAL_ENTROPY + _LOG_STD_LOGISTIC - 2.0, p)


def gumbel_normal(q: Gumbel, p: Normal) -> Array:
    r"""Mean $m + \gamma s$, variance $\pi^2s^2/6$, entropy $\log s + \gamma + 1$."""
    mean_gap = (q.loc - p.loc) + _EULER * jnp.exp(q.log_scale)
    negentropy = NORMAL_ENTROPY + _LOG_STD_GUMBEL - (_EULER + 1.0)
    return by_moments(mean_gap, q.log_scale + _LOG_STD_GUMBEL, negentropy, p)


def uniform_normal(q: Uniform, p: Normal) -> Array:
    r"""Mean $a + w/2$, variance $w^2/12$, entropy $\log w$."""
    mean_gap = (q.low - p.loc) + 0.5 * jnp.exp(q.log_width)
    log_std = q.log_width + _LOG_STD_UNIFORM
    return by_moments(mean_gap, log_std, NORMAL_ENTROPY + _LOG_STD_UNIFORM, p)


def _triangular_normal(q: Triangular, p: Normal) -> Array:
    r"""Mean $a + w(1 + m)/3$, variance $w^2(1 - m(1 - m))/18$, entropy $\frac12 + \log\frac w2$."""
    unit = Triangular(jnp.zeros_like(q.low), jnp.zeros_like(q.low), q.logit_mode)
    mean_gap = (q.low - p.loc) + unit.mean * jnp.exp(q.log_width)
    log_std = 0.5 * jnp.log(unit.variance)
    negentropy = (NORMAL_ENTROPY - 0.5 + _LOG_TWO) + log_std
    return by_moments(mean_gap, q.log_width + log_std, negentropy, p)


def _student_t_normal(q: StudentT, p: Normal) -> Array:
    r"""Variance $s^2\nu/(\nu - 2)$; infinite for $\nu \le 2$."""
    excess_df = q.log_df - _LOG_TWO
    finite = excess_df > 0
    log_df = jnp.where(finite, q.log_df, 2.0)
    log_std = -0.5 * jnp.log(-jnp.expm1(_LOG_TWO - log_df))
    zero = jnp.zeros_like(log_df)
    negentropy = (log_std + NORMAL_ENTROPY) - StudentT(zero, zero, log_df).entropy_by_factor()
    divergence = by_moments(q.loc - p.loc, q.log_scale + log_std, negentropy, p)
    return jnp.where(finite, divergence, jnp.inf)


def _student_vector_normal(q: MultivariateStudentT, p: Any) -> Array:
    r"""Covariance $LL^\top\nu/(\nu - 2)$; infinite for $\nu \le 2$."""
    finite = q.log_df > _LOG_TWO
    log_df = jnp.where(finite, q.log_df, 2.0)
    log_growth = -0.5 * jnp.log(-jnp.expm1(_LOG_TWO - log_df))
    log_diagonal = q.log_diagonal + log_growth
    normal = MultivariateNormal(q.loc, log_diagonal, q.lower * jnp.exp(log_growth))
    zeros = jnp.zeros_like(q.loc)
    standard = MultivariateStudentT(zeros, zeros, jnp.zeros_like(q.lower), log_df)
    negentropy = len(q.loc) * (log_growth + NORMAL_ENTROPY) - standard.entropy()
    divergence = gaussian.CLOSED_FORMS[MultivariateNormal, type(p)](normal, p) + negentropy
    return jnp.where(finite, divergence, jnp.inf)


def normal_gumbel(q: Normal, p: Gumbel) -> Array:
    r"""$e(L) + \frac12 e(2\log\frac\sigma s) + 1 - \frac12\log 2\pi$.

    $L = (m - \mu)/s + \sigma^2/2s^2$, for the location $m$ of the Gumbel variable and its scale
    $s$, is the logarithm of the mean of $e^{-(x - m)/s}$ under the Normal.
    """
    log_ratio = q.log_scale - p.log_scale
    log_power = (p.loc - q.loc) * inverse_scale(p.log_scale) + 0.5 * jnp.exp(2.0 * log_ratio)
    return excess(log_power) + 0.5 * excess(2.0 * log_ratio) + (1.0 - HALF_LOG_TWO_PI)


def _laplace_laplace(q: Laplace, p: Laplace) -> Array:
    r"""$\log\frac ts + \frac{|m - \mu|}t + \frac st e^{-|m - \mu|/s} - 1$ for scales $s$ and $t$.

    $e(\log\frac st) + \frac st e(-|m - \mu|/s)$. Meyer (2021), An alternative probabilistic
    interpretation of the Huber loss.
    """
    log_ratio = q.log_scale - p.log_scale
    distance = jnp.abs(q.loc - p.loc)
    t = steps(distance, q.log_scale, 100.0)
    near = t < 1.0
    inner = excess(-jnp.where(near, t, 0.0))
    # From the distance in p's scale, as that in q's may be infinite.
    ratio = jnp.exp(log_ratio)
    beyond = jnp.expm1(-jnp.where(near, 0.0, t))
    outer = distance * inverse_scale(p.log_scale) + ratio * beyond
    return excess(log_ratio) + jnp.where(near, ratio * inner, outer)


def _cauchy_cauchy(q: Cauchy, p: Cauchy) -> Array:
    r"""$\log\frac{(s + t)^2 + (m - \mu)^2}{4st}$ for scales $s$ and $t$; symmetric.

    As $\log(1 + \sinh^2\frac12\log\frac st) + \log(1 + (\frac{m - \mu}{s + t})^2)$.
    Chyzak and Nielsen (2019), A closed-form formula for the KL divergence between Cauchy
    distributions.
    """
    log_ratio = q.log_scale - p.log_scale
    near = jnp.abs(log_ratio) < 1.0
    sinh = jnp.sinh(0.5 * jnp.where(near, log_ratio, 0.0))
    size = jnp.abs(jnp.where(near, 1.0, log_ratio))
    far = size + 2.0 * (jnp.log1p(jnp.exp(-size)) - _LOG_TWO)
    log_sum = jnp.logaddexp(q.log_scale, p.log_scale)
    distance = q.loc - p.loc
    of_locations = log1p_square(distance * inverse_scale(log_sum), distance, log_sum)
    return jnp.where(near, jnp.log1p(sinh * sinh), far) + of_locations


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    (Laplace, Laplace): _laplace_laplace,
    (Cauchy, Cauchy): _cauchy_cauchy,
    (Laplace, Normal): _laplace_normal,
    (Logistic, Normal): _logistic_normal,
    (Gumbel, Normal): gumbel_normal,
    (Uniform, Normal): uniform_normal,
    (Triangular, Normal): _triangular_normal,
    (StudentT, Normal): _student_t_normal,
    **dict.fromkeys(
        product([MultivariateStudentT], [Normal, MultivariateNormal, LowRankNormal]),
        _student_vector_normal,
    ),
    (Normal, Gumbel): normal_gumbel,
}
