"""The periodic toy set of the latent ODE with an ODE-RNN encoder."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey
from jaxvae.series import TimeSeries, subsample


class Periodic(NamedTuple):
    """Sinusoids at irregular times.

    Attributes:
        observed: what is seen of each series; shapes (series, seen) and (series, seen, 1).
        target: all points of each series, with the same noise; (series, points).
        clean: the values of ``target`` without noise, shape (series, points, 1).
        frequency: shape (series,), in cycles per unit of time.
        amplitude: shape (series,).
        level: shape (series,), what the sinusoid is added to: its value at time 0.
    """

    observed: TimeSeries
    target: TimeSeries
    clean: Float[Array, "series points 1"]
    frequency: Float[Array, "series"]
    amplitude: Float[Array, "series"]
    level: Float[Array, "series"]


def periodic(
    count: int = 1000,
    *,
    key: PRNGKey,
    points: int = 100,
    final_time: float = 5.0,
    observed_fraction: float = 1.0,
    frequency: tuple[float, float] = (0.4, 0.8),
    amplitude: tuple[float, float] = (1.0, 1.0),
    level: tuple[float, float] = (1.0, 0.1),
    noise: float | Float[Array, ""] = 0.01,
    shared_times: bool = True,
) -> Periodic:
    r"""Draw sinusoids of random frequency and level at irregular times.

    .. math::
        x_i = c + A \sin(2 \pi f t_i) + \sigma \varepsilon_i, \quad
        f \sim \mathcal U(0.4, 0.8), \; c \sim \mathcal N(1, 0.1^2), \; A = 1, \;
        0 = t_1 < t_2 < \dots, \; t_{i > 1} \sim \mathcal U(0, 5)

    Frequency, amplitude, level, times (one set for all series, the first at 0) and the truncated
    number of observed points are those of the published program. Different here: its noise is
    uniform in [0, 0.01) and leaves the first point out, ours is Gaussian on all, as the paper has
    it; it blanks points that are not observed and drops times at which a batch has none, here
    each series keeps its observed rows alone. The paper speaks of initial values from a standard
    Gaussian, where the program has :math:`\mathcal N(1, 0.1^2)`.

    Args:
        count: number of series; published: 1,000, of which the last fifth are the test part.
        key: of everything random.
        points: points of each series.
        final_time: end of the interval of times.
        observed_fraction: of the points that are observed, rounded down: 0.1 to 0.5 in the paper.
        frequency: lower and upper end of the uniform distribution of the frequency.
        amplitude: likewise.
        level: mean and standard deviation of the level.
        noise: standard deviation of the noise.
        shared_times: whether all series have the same times.

    Raises:
        ValueError: if the fraction is not above 0 and at most 1, or leaves no point.

    Reference: Rubanova, Chen & Duvenaud (2019), Latent ODEs for irregularly-sampled time series,
        section 4.1.

    Example:
        >>> import jax
        >>> from jaxvae.data.series import periodic
        >>> data = periodic(10, observed_fraction=0.3, key=jax.random.key(0))
        >>> data.observed.values.shape, data.target.values.shape
        ((10, 30, 1), (10, 100, 1))
    """
    _check.positive("count", count)
    seen = _seen(points, observed_fraction)
    time_key, *parameter_keys, noise_key, seen_key = jax.random.split(key, 6)
    rows = 1 if shared_times else count
    draw_times = jax.vmap(lambda key: _times(key, points, final_time))
    times = jnp.broadcast_to(draw_times(jax.random.split(time_key, rows)), (count, points))
    cycles = jax.random.uniform(
        parameter_keys[0], (count,), minval=frequency[0], maxval=frequency[1]
    )
    size = jax.random.uniform(parameter_keys[1], (count,), minval=amplitude[0], maxval=amplitude[1])
    base = level[0] + level[1] * jax.random.normal(parameter_keys[2], (count,))
    phase = 2 * math.pi * cycles[:, None] * times
    clean = (base[:, None] + size[:, None] * jnp.sin(phase))[..., None]
    noisy = clean + noise * jax.random.normal(noise_key, clean.shape)
    target = TimeSeries(times, noisy, jnp.ones(clean.shape, bool))
    observed = target
    if seen < points:
        keys = jax.random.split(seen_key, count)
        observed = jax.vmap(lambda series, key: subsample(series, seen, key=key))(target, keys)
    return Periodic(observed, target, clean, cycles, size, base)


def _seen(points: int, fraction: float) -> int:
    _check.positive("points", points)
    # A fraction such as 0.29 times 100 is just below the whole number that is meant.
    seen = math.floor(round(points * fraction, 9))
    if not 0 < fraction <= 1 or seen < 1:
        raise ValueError(
            f"observed_fraction expected a number above 0 and at most 1 that leaves one of "
            f"{points} points, got {fraction}"
        )
    return seen


def _times(key: PRNGKey, points: int, final_time: float) -> Float[Array, "points"]:
    """Draw sorted times, the first at 0; uniform draws that tie are set apart by two roundings."""
    draws = jax.random.uniform(key, (points - 1,))
    apart = 2 * final_time * jnp.finfo(draws.dtype).eps
    spread = jnp.sort(draws) * (final_time - points * apart)
    later = spread + apart * jnp.arange(1, points).astype(draws.dtype)
    return jnp.concatenate([jnp.zeros_like(later, shape=1), later])
