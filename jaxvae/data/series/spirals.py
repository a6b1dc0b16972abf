"""Bi-directional spirals: short noisy windows of two long curves."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxvae import _check
from jaxvae._types import PRNGKey
from jaxvae.series import TimeSeries, subsample


class SpiralCurves(NamedTuple):
    """The two curves that all windows are cut from; the defaults are the published ones.

    Attributes:
        grid_points: points of each curve.
        final_angle: the angles run evenly from 0 to this.
        offset: a, a constant part of both radii.
        growth: b, the radius that a radian adds counter-clockwise.
        numerator: the clockwise radius is a + numerator b / z.
        clearance: the smallest z, above 0: where z = 0 the radius is infinite.
        clockwise_centre: of the clockwise curve.
        counter_centre: of the other.
    """

    grid_points: int = 500
    final_angle: float = 6 * math.pi
    offset: float = 0.0
    growth: float = 0.3
    numerator: float = 50.0
    clearance: float = 1.0
    clockwise_centre: tuple[float, float] = (-5.0, 0.0)
    counter_centre: tuple[float, float] = (5.0, 0.0)


_PUBLISHED = SpiralCurves()


class Spirals(NamedTuple):
    """Windows of spirals. Time is the angle since the start of the window, in radians.

    Attributes:
        observed: with noise; shapes (series, points) and (series, points, 2).
        clean: the whole windows without noise; shapes (series, window) and (series, window, 2).
        clockwise: shape (series,), which curve the window is cut from.
        starts: shape (series,), the index of the window's first point in its curve.
        trajectory: shape (series, grid, 2), the whole curve without noise.
    """

    observed: TimeSeries
    clean: TimeSeries
    clockwise: Bool[Array, "series"]
    starts: Int[Array, "series"]
    trajectory: Float[Array, "series grid 2"]


def spiral_curves(curves: SpiralCurves = _PUBLISHED) -> Float[Array, "2 grid 2"]:
    r"""Compute the counter-clockwise curve and, after it, the clockwise one.

    .. math::
        \text{counter-clockwise: } r = a + b\,\theta \text{ at the angle } \theta, \qquad
        \text{clockwise: } r = a + 50\,b/z \text{ at the angle } z = 6\pi + 1 - \theta

    with the angles θ evenly from 0 to 6π, so the clockwise curve turns outwards as z falls to 1.

    Raises:
        ValueError: if there are fewer than two points, or z is not above 0 everywhere.
    """
    if curves.grid_points < 2 or curves.final_angle <= 0 or curves.clearance <= 0:
        raise ValueError(
            "spirals expected at least 2 grid_points, a final_angle and a clearance above 0, got "
            f"{curves.grid_points}, {curves.final_angle} and {curves.clearance}"
        )
    angle = jnp.linspace(0.0, curves.final_angle, curves.grid_points)
    # Counted from the other end, and not final_angle + clearance - angle, which would round.
    falling = angle[::-1] + curves.clearance
    counter = _polar(curves.offset + curves.growth * angle, angle, curves.counter_centre)
    radius = curves.offset + curves.numerator * curves.growth / falling
    return jnp.stack([counter, _polar(radius, falling, curves.clockwise_centre)])


def spirals(
    count: int = 1000,
    *,
    key: PRNGKey,
    curves: SpiralCurves = _PUBLISHED,
    window: int = 100,
    points: int | None = None,
    noise: float | Float[Array, ""] = 0.3,
    starts: Int[np.ndarray, "starts"] | Sequence[int] | None = None,
    clockwise: float | Float[Array, ""] = 0.5,
) -> Spirals:
    """Draw windows of the two spirals at random starts and observe them with Gaussian noise.

    With the defaults there are only 600 distinct clean windows, and those at neighbouring starts
    share 99 of their 100 points: a division by series tests on what was trained on. Divide the
    starts instead, by ``starts_between`` or ``starts_beyond``, and draw each part by itself.

    The directions are independent draws, as in the published program; the paper has half of the
    series each way.

    Args:
        count: number of series.
        key: of the starts, directions, noise and points.
        curves: what windows are cut from.
        window: points of a window, one every 6π/499 radians: 100 of them span 3.74.
        points: how many points of the window are observed, at random and without replacement: 30,
            50 and 100 in the paper. None observes all.
        noise: standard deviation of the noise.
        starts: equally likely first points, by default those that leave a whole window before and
            the window itself inside the grid: 100 to 399.
        clockwise: probability of that direction.

    Raises:
        ValueError: if a window is shorter than 2 points or does not fit between its start and the
            end of the grid, or there are not so many points in it.

    Reference: Chen et al. (2018), section 5.1; Bath report, section 6.2.

    Example:
        >>> import jax
        >>> from jaxvae.data.series import spirals
        >>> data = spirals(8, points=30, key=jax.random.key(0))
        >>> data.observed.values.shape, data.clean.values.shape, data.trajectory.shape
        ((8, 30, 2), (8, 100, 2), (8, 500, 2))
    """
    _check.positive("count", count)
    if window < 2:
        raise ValueError(f"window expected at least 2 points, got {window}")
    last = curves.grid_points - window
    allowed = np.arange(window, last) if starts is None else np.asarray(starts)
    if not allowed.size or allowed.min() < 0 or allowed.max() > last:
        raise ValueError(
            f"starts expected indices from 0 to {last}, so that {window} points fit in "
            f"{curves.grid_points}, got {_extent(allowed)}"
        )
    start_key, direction_key, noise_key, point_key = jax.random.split(key, 4)
    first = jax.random.choice(start_key, jnp.asarray(allowed), (count,))
    turn = jax.random.bernoulli(direction_key, clockwise, (count,))
    trajectory = spiral_curves(curves)[turn.astype(int)]
    spacing = curves.final_angle / (curves.grid_points - 1)
    clean = _cut(trajectory, first, 0, window, spacing)
    noisy = clean.values + noise * jax.random.normal(noise_key, clean.values.shape)
    observed = clean._replace(values=noisy)
    if points is not None:
        keys = jax.random.split(point_key, count)
        observed = jax.vmap(lambda series, key: subsample(series, points, key=key))(observed, keys)
    return Spirals(observed, clean, turn, first, trajectory)


def clean_forward(data: Spirals, length: int = 100) -> TimeSeries:
    """Cut the points that follow each window, without noise.

    Those past the end of the grid are masked: with the published grid and window 100 points exist
    where a start is at most 300. ``mask.all((1, 2))`` says for which series all are there.

    Returns:
        Series of ``length`` points whose times continue those of ``data.clean``.
    """
    window = data.clean.times.shape[-1]
    return _cut(data.trajectory, data.starts, window, length, _spacing(data))


def clean_backward(data: Spirals, length: int = 100) -> TimeSeries:
    """Cut the points before each window, in the order of time and without noise.

    Those before the beginning of the grid are masked; 100 exist where a start is at least 100.

    Returns:
        Series of ``length`` points at negative times.
    """
    return _cut(data.trajectory, data.starts, -length, length, _spacing(data))


def _polar(
    radius: Float[Array, "grid"], angle: Float[Array, "grid"], centre: tuple[float, float]
) -> Float[Array, "grid 2"]:
    return jnp.stack(
        [radius * jnp.cos(angle) + centre[0], radius * jnp.sin(angle) + centre[1]], axis=-1
    )


def _cut(
    trajectory: Float[Array, "series grid 2"],
    starts: Int[Array, "series"],
    offset: int,
    length: int,
    spacing: float | Float[Array, ""],
) -> TimeSeries:
    """Take points of each trajectory from ``offset`` after its start; those outside are masked."""
    relative = jnp.arange(offset, offset + length)
    places = starts[:, None] + relative[None]
    grid = trajectory.shape[1]
    inside = jnp.broadcast_to(
        ((places >= 0) & (places < grid))[..., None], (*places.shape, trajectory.shape[-1])
    )
    found = jax.vmap(lambda curve, at: curve[at])(trajectory, jnp.clip(places, 0, grid - 1))
    times = spacing * relative.astype(trajectory.dtype)
    return TimeSeries(jnp.broadcast_to(times, places.shape), jnp.where(inside, found, 0), inside)


def _spacing(data: Spirals) -> Float[Array, ""]:
    return data.clean.times[0, -1] / (data.clean.times.shape[-1] - 1)


def _extent(indices: np.ndarray) -> str:
    return f"{indices.min()} to {indices.max()}" if indices.size else "none"
