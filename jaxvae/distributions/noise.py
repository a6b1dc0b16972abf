"""Noise: the distributions without parameters that reparameterised samples are functions of."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtri
from jaxtyping import Float

from jaxvae._types import PRNGKey, Shape


@runtime_checkable
class Noise(Protocol):
    """Independent and identically distributed variables, drawn, reflected or inverted."""

    @property
    def shape(self) -> Shape:
        """Shape of the variables."""
        ...

    @property
    def dtype(self) -> Any:
        """Their floating-point type."""
        ...

    def sample(self, key: PRNGKey) -> Array:
        """Draw all variables."""
        ...

    def from_uniform(self, uniform: Array) -> Array:
        """The inverse distribution function of each variable, for quasi-Monte Carlo points."""
        ...

    def reflect(self, noise: Array) -> Array:
        """The antithetic draw: mirror images, which have the same distribution."""
        ...


@dataclass(frozen=True)
class StandardUniform:
    r"""$U(0, 1)$, open at both ends.

    Draws are the midpoints $(k + \frac12)/2^b$ with b = 23 in float32 and 52 in float64, so that
    no inverse distribution function meets 0 or 1 and the reflection $1 - u$ is exact.
    """

    shape: Shape
    dtype: Any = jnp.float32

    def sample(self, key: PRNGKey) -> Float[Array, "*noise"]:
        """Draw all variables."""
        bits = jnp.finfo(self.dtype).nmant
        word = jnp.uint32 if bits < 32 else jnp.uint64
        drawn = jax.random.bits(key, self.shape, word) >> (jnp.iinfo(word).bits - bits)
        return (drawn.astype(self.dtype) + 0.5) * jnp.asarray(2.0**-bits, self.dtype)

    def from_uniform(self, uniform: Float[Array, "*noise"]) -> Float[Array, "*noise"]:
        """The identity."""
        return uniform

    def reflect(self, noise: Float[Array, "*noise"]) -> Float[Array, "*noise"]:
        r"""$1 - u$."""
        return 1.0 - noise


@dataclass(frozen=True)
class StandardNormal:
    r"""$N(0, 1)$."""

    shape: Shape
    dtype: Any = jnp.float32

    def sample(self, key: PRNGKey) -> Float[Array, "*noise"]:
        """Draw all variables."""
        return jax.random.normal(key, self.shape, self.dtype)

    def from_uniform(self, uniform: Float[Array, "*noise"]) -> Float[Array, "*noise"]:
        r"""$\Phi^{-1}(u)$."""
        return ndtri(uniform)

    def reflect(self, noise: Float[Array, "*noise"]) -> Float[Array, "*noise"]:
        r"""$-\varepsilon$."""
        return -noise


def size(noise: Noise) -> int:
    """Number of variables."""
    return math.prod(noise.shape)
