"""Families written as members of a larger one, in whose parameters their divergences are stated.

Logarithms are kept as the terms of their sums: a concentration of a million multiplies the square
of the difference of two logarithms, of which rounding each sum first would leave no digit.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae.distributions.composition.chi_squared import ChiSquared
from jaxvae.distributions.composition.gamma import Gamma
from jaxvae.distributions.inversion.erlang import Erlang
from jaxvae.distributions.inversion.exponential import Exponential
from jaxvae.distributions.inversion.rayleigh import Rayleigh
from jaxvae.distributions.inversion.weibull import Weibull
from jaxvae.distributions.numerics.pair import sum_of

_LOG_TWO = math.log(2.0)
GAMMAS = (Gamma, Exponential, Erlang, ChiSquared)
WEIBULLS = (Weibull, Rayleigh)
"""Exponential is a Weibull too; its pairs with the other Gamma variables are those of Gamma."""


class GammaForm(NamedTuple):
    """A Gamma variable by its concentration and its mean."""

    concentration: Array
    log_concentration: Array
    log_mean: tuple[Array, ...]


class WeibullForm(NamedTuple):
    """A Weibull variable by its concentration and its scale."""

    log_concentration: Array
    log_scale: tuple[Array, ...]


def as_gamma(q: Any) -> GammaForm:
    """One of ``GAMMAS``."""
    if isinstance(q, Gamma):
        log_a = q.log_concentration
        return GammaForm(jnp.exp(log_a), log_a, (log_a, -q.log_rate))
    if isinstance(q, ChiSquared):
        return GammaForm(0.5 * jnp.exp(q.log_df), q.log_df - _LOG_TWO, (q.log_df,))
    number = q.shape if isinstance(q, Erlang) else 1
    rate = q.log_rate
    coarse, fine = _in_two_parts(math.log(number), rate)
    return GammaForm(jnp.full_like(rate, number), coarse, (-rate, coarse, fine))


def as_weibull(q: Any) -> WeibullForm:
    """One of ``WEIBULLS`` or Exponential."""
    if isinstance(q, Weibull):
        return WeibullForm(q.log_concentration, (q.log_scale,))
    if isinstance(q, Exponential):
        return WeibullForm(jnp.zeros_like(q.log_rate), (-q.log_rate,))
    two, half_two = (_in_two_parts(x, q.log_scale) for x in (_LOG_TWO, 0.5 * _LOG_TWO))
    return WeibullForm(two[0], (q.log_scale, *half_two))


def log_ratio(first: tuple[Array, ...], second: tuple[Array, ...]) -> Array:
    """The difference of two sums, to rounding of the difference."""
    leading, rest = sum_of(*first, *[-term for term in second])
    return leading + rest


def _in_two_parts(value: float, like: Array) -> tuple[Array, Array]:
    """A constant as a number of the array's dtype, and what rounding took from it."""
    coarse = float(np.asarray(value, like.dtype))
    return jnp.full_like(like, coarse), jnp.full_like(like, value - coarse)
