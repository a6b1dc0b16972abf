r"""Several events at once, with noise chosen to make their average less noisy.

An explicit transformation $z = g(\varepsilon)$ leaves the choice of $\varepsilon$ free, as long as
each is distributed as the noise: averages stay unbiased while their variance falls.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.stats import qmc

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions.base import Distribution, Reparameterisable
from jaxvae.distributions.noise import Noise, size


def independent(q: Distribution, key: PRNGKey, num_samples: int) -> PyTree:
    """Independent events, stacked along a leading axis.

    Args:
        q: any distribution.
        key: typed key, consumed.
        num_samples: how many events.

    Raises:
        ValueError: if the number is not a positive integer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, sampling
        >>> sampling.independent(Normal.standard((2,)), jax.random.key(0), 5).shape
        (5, 2)
    """
    _check.positive("num_samples", num_samples)
    return jax.vmap(q.sample)(jax.random.split(key, num_samples))


def antithetic(q: Reparameterisable, key: PRNGKey, num_samples: int) -> Float[Array, "N *event"]:
    r"""Pairs of events from noise and its mirror image; event i belongs to event $i + N/2$.

    Averages of functions that are odd in the noise are exact, and of monotone ones less noisy than
    from as many independent events; of even ones they are noisier.

    Args:
        q: a distribution with an explicit transformation.
        key: typed key, consumed.
        num_samples: how many events, an even number N.

    Raises:
        ValueError: if the number is not even and positive, or q has no explicit transformation.

    Reference: Hammersley and Morton (1956).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, sampling
        >>> events = sampling.antithetic(Normal.standard((2,)), jax.random.key(0), 4)
        >>> float(jnp.max(jnp.abs(events[:2] + events[2:])))
        0.0
    """
    _require_transformation("antithetic", q)
    return jax.vmap(q.transform)(antithetic_noise(q.noise, key, num_samples))


def antithetic_noise(noise: Noise, key: PRNGKey, num_samples: int) -> Float[Array, "N *noise"]:
    r"""The noise of ``antithetic``: N/2 draws followed by their mirror images.

    Args:
        noise: the distribution of the noise.
        key: typed key, consumed.
        num_samples: an even number N.

    Raises:
        ValueError: if the number is not even and positive.
    """
    _check.positive("num_samples", num_samples)
    if num_samples % 2:
        raise ValueError(
            f"antithetic expected an even num_samples, got {num_samples}; "
            "each draw of the noise is used with its mirror image"
        )
    drawn = jax.vmap(noise.sample)(jax.random.split(key, num_samples // 2))
    return jnp.concatenate([drawn, noise.reflect(drawn)])


def quasi_monte_carlo(
    q: Reparameterisable, key: PRNGKey, num_samples: int
) -> Float[Array, "N *event"]:
    r"""Events from a Sobol net, whose noise fills its space more evenly than chance would.

    The points of a fixed net have all their binary digits flipped at the places drawn by the key
    (a random digital shift), so that each is uniform and averages are unbiased; for smooth
    integrands their error falls nearly as $N^{-1}$. Powers of two fill the space best. Events of
    one call depend on one another: only repeated calls show the error of an average.

    Args:
        q: a distribution with an explicit transformation of at most 21201 noise variables.
        key: typed key, consumed.
        num_samples: how many events.

    Raises:
        ValueError: if the number is not a positive integer, or q has no explicit transformation.

    Reference: Sobol (1967); L'Ecuyer and Lemieux (2002); direction numbers of Joe and Kuo (2008).

    Example:
        >>> import jax
        >>> from jaxvae.distributions import Normal, sampling
        >>> events = sampling.quasi_monte_carlo(Normal.standard((1,)), jax.random.key(0), 1024)
        >>> bool(abs(events.mean()) < 0.01)
        True
    """
    _require_transformation("quasi_monte_carlo", q)
    return jax.vmap(q.transform)(sobol_noise(q.noise, key, num_samples))


def sobol_noise(noise: Noise, key: PRNGKey, num_samples: int) -> Float[Array, "N *noise"]:
    r"""The noise of ``quasi_monte_carlo``: a Sobol net with a random digital shift.

    Args:
        noise: the distribution of the noise, of at most 21201 variables.
        key: typed key, consumed.
        num_samples: N.

    Raises:
        ValueError: if the number is not a positive integer.
    """
    _check.positive("num_samples", num_samples)
    digits = jnp.finfo(noise.dtype).nmant
    word = jnp.uint32 if digits < 32 else jnp.uint64
    net = jnp.asarray(_sobol_net(size(noise), num_samples, digits), word)
    flips = jax.random.bits(key, (1, size(noise)), word) >> (jnp.iinfo(word).bits - digits)
    # Midpoints of the cells, as StandardUniform draws them.
    uniform = ((net ^ flips).astype(noise.dtype) + 0.5) * (2.0**-digits)
    return noise.from_uniform(uniform.reshape(num_samples, *noise.shape))


@functools.cache
def _sobol_net(dimensions: int, number: int, digits: int) -> np.ndarray:
    """The first points of Sobol's sequence as integers below $2^{digits}$."""
    engine = qmc.Sobol(dimensions, scramble=False, bits=digits)
    points = engine.random_base2((number - 1).bit_length())[:number]
    return (points * 2.0**digits).astype(np.uint64)


def _require_transformation(strategy: str, q: Distribution) -> None:
    if not isinstance(q, Reparameterisable):
        raise ValueError(
            f"{strategy} expected a distribution with an explicit transformation of noise, got "
            f"{type(q).__name__}; use sampling.independent"
        )
