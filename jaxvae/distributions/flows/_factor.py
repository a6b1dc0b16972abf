r"""The number above -1 that keeps a planar or radial flow one-to-one."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae._types import Scalar

_SHIFT = math.log(math.expm1(1.0))


class Strength(NamedTuple):
    """A number above -1 with what would cancel if it were taken from it.

    Attributes:
        value: s.
        above: s + 1.
        excess: s - a, with a the unconstrained number.
    """

    value: Scalar
    above: Scalar
    excess: Scalar


def strength(raw: Scalar) -> Strength:
    r"""$s = -1 + \log(1 + (e - 1)e^a)$: from all numbers onto those above -1, and 0 to 0.

    It is $\log(1 + (1 - e^{-1})(e^a - 1))$, and $a + \log(1 + e^{-1}(e^{-a} - 1))$.
    """
    low = raw <= 0
    negative, positive = jnp.where(low, raw, 0.0), jnp.where(low, 0.0, raw)
    value_below = jnp.log1p(-math.expm1(-1.0) * jnp.expm1(negative))
    excess_above = jnp.log1p(math.exp(-1.0) * jnp.expm1(-positive))
    return Strength(
        value=jnp.where(low, value_below, positive + excess_above),
        above=jax.nn.softplus(raw + _SHIFT),
        excess=jnp.where(low, value_below - negative, excess_above),
    )


def log_one_plus(s: Strength, weight: Array, rest: Array) -> Array:
    r"""$\log(1 + ms)$ for a weight m from 0 to 1, with $1 - m$ given besides.

    Near s = -1 it is the logarithm of a sum of positive terms, in which nothing cancels.
    """
    product = s.value * weight
    near = product > -0.5
    return jnp.where(
        near,
        jnp.log1p(jnp.where(near, product, 0.0)),
        jnp.log(jnp.where(near, 1.0, rest + s.above * weight)),
    )
