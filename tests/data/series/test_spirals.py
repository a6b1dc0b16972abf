import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae.data.series import (
    SpiralCurves,
    clean_backward,
    clean_forward,
    spiral_curves,
    spirals,
)
from jaxvae.series import unpad

SPACING = 6 * np.pi / 499
THETA = np.arange(500) * SPACING
COUNTER = np.stack([0.3 * THETA * np.cos(THETA) + 5, 0.3 * THETA * np.sin(THETA)], -1)
Z = 6 * np.pi + 1 - THETA
CLOCKWISE = np.stack([15 / Z * np.cos(Z) - 5, 15 / Z * np.sin(Z)], -1)
# An absolute error of radius times that of an angle of 20 in float32.
ATOL = 3e-5

draw = jax.jit(lambda key: spirals(1000, key=key))


@pytest.fixture(scope="module")
def data():
    return draw(jax.random.key(0))


def test_the_curves_are_those_of_their_equations():
    np.testing.assert_allclose(jax.jit(spiral_curves)(), [COUNTER, CLOCKWISE], atol=ATOL)
    with jax.enable_x64():
        np.testing.assert_allclose(jax.jit(spiral_curves)(), [COUNTER, CLOCKWISE], atol=1e-12)


def test_they_turn_as_they_are_called():
    counter, clockwise = np.asarray(jax.jit(spiral_curves)())
    for curve, centre, sign in ((counter, 5, 1), (clockwise, -5, -1)):
        x, y = (curve - [centre, 0])[1:].T
        steps = np.diff(np.unwrap(np.arctan2(y, x)))
        np.testing.assert_allclose(steps, sign * SPACING, rtol=2e-3)
        # Both turn outwards.
        assert (np.diff(np.hypot(x, y)) > 0).all()


def test_a_curve_of_ones_own():
    own = SpiralCurves(50, 3.0, 0.5, 2.0, 7.0, 0.25, (1.0, 2.0), (3.0, 4.0))
    counter, clockwise = np.asarray(jax.jit(lambda: spiral_curves(own))(), float)
    theta = np.linspace(0, 3, 50)
    z = 3.25 - theta
    np.testing.assert_allclose(np.hypot(*(counter - [3, 4]).T), 0.5 + 2 * theta, atol=1e-5)
    np.testing.assert_allclose(np.hypot(*(clockwise - [1, 2]).T), 0.5 + 14 / z, atol=1e-4)


def test_windows_lie_where_they_say(data):
    starts, clockwise = np.asarray(data.starts), np.asarray(data.clockwise)
    curves = np.where(clockwise[:, None, None], CLOCKWISE, COUNTER)
    np.testing.assert_allclose(data.trajectory, curves, atol=ATOL)
    places = starts[:, None] + np.arange(100)
    expected = np.take_along_axis(curves, places[..., None], 1)
    np.testing.assert_allclose(data.clean.values, expected, atol=ATOL)
    times = np.broadcast_to(THETA[:100], (1000, 100))
    np.testing.assert_allclose(data.clean.times, times, rtol=1e-6)
    assert times[0, -1] == pytest.approx(3.74, abs=5e-4)
    assert np.asarray(data.observed.mask).all()


def test_noise_starts_and_directions_have_their_distributions(data):
    noise = np.asarray(data.observed.values - data.clean.values).ravel()
    assert stats.kstest(noise[:100_000], stats.norm(0, 0.3).cdf).pvalue > 1e-3
    many = jax.jit(lambda key: spirals(60_000, window=2, key=key, clockwise=0.3))
    drawn = many(jax.random.key(1))
    counts = np.bincount(drawn.starts, minlength=500)
    assert counts[2:498].all()
    assert not counts[:2].any()
    assert not counts[498:].any()
    assert stats.chisquare(counts[2:498]).pvalue > 1e-3
    assert stats.binomtest(int(drawn.clockwise.sum()), 60_000, 0.3).pvalue > 1e-3


def test_the_published_starts_are_100_to_399(data):
    starts = np.asarray(data.starts)
    assert (starts.min(), starts.max()) == (100, 399)


def test_forward_and_backward_continue_the_window(data):
    forward, backward = jax.jit(clean_forward)(data), jax.jit(clean_backward)(data)
    starts, trajectory = np.asarray(data.starts), np.asarray(data.trajectory)
    there = np.asarray(forward.mask).all((1, 2))
    np.testing.assert_array_equal(there, starts <= 300)
    assert np.asarray(backward.mask).all()
    for row in (int(np.argmax(there)), int(np.argmax(starts == 300))):
        start = starts[row]
        np.testing.assert_array_equal(forward.values[row], trajectory[row, start + 100 :][:100])
        np.testing.assert_array_equal(backward.values[row], trajectory[row, :start][-100:])
    np.testing.assert_allclose(forward.times[0], np.arange(100, 200) * SPACING, rtol=1e-6)
    np.testing.assert_allclose(backward.times[0], np.arange(-100, 0) * SPACING, rtol=1e-6)


def test_what_lies_outside_the_grid_is_masked(data):
    row = int(np.argmax(data.starts))  # 399: one point is left after the window
    forward = jax.jit(clean_forward)(data)
    np.testing.assert_array_equal(forward.mask[row, :, 0], np.arange(100) < 1)
    assert not np.asarray(forward.values)[~np.asarray(forward.mask)].any()
    early = data._replace(starts=jnp.full_like(data.starts, 40))
    before = jax.jit(clean_backward)(early)
    np.testing.assert_array_equal(before.mask[0, :, 0], np.arange(100) >= 60)
    np.testing.assert_array_equal(before.values[0, 60:], early.trajectory[0, :40])


def test_irregular_points_are_points_of_the_noisy_window(data):
    some = jax.jit(lambda key: spirals(1000, key=key, points=30))(jax.random.key(0)).observed
    assert some.values.shape == (1000, 30, 2)
    assert len({tuple(times) for times in np.asarray(some.times).tolist()}) == 1000
    for kept, everything in zip(unpad(some), unpad(data.observed), strict=True):
        places = np.searchsorted(everything.times, kept.times)
        np.testing.assert_array_equal(everything.times[places], kept.times)
        np.testing.assert_array_equal(everything.values[places], kept.values)


def test_given_starts_alone_are_used():
    drawn = jax.jit(lambda key: spirals(500, key=key, starts=[7, 250, 400]))(jax.random.key(4))
    assert set(np.asarray(drawn.starts).tolist()) == {7, 250, 400}
    assert np.asarray(drawn.clean.mask).all()


def test_the_data_follow_the_key_alone(data):
    for got, expected in zip(
        jax.tree.leaves(draw(jax.random.key(0))), jax.tree.leaves(data), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    other = draw(jax.random.key(5))
    assert not np.array_equal(other.starts, data.starts)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"starts": [401]}, "indices from 0 to 400, so that 100 points fit in 500, got 401 to 401"),
        ({"starts": [-1]}, "got -1 to -1"),
        ({"starts": []}, "got none"),
        ({"window": 250}, "got none"),
        ({"window": 1}, "at least 2 points, got 1"),
        ({"points": 101}, "count expected at most 100"),
        ({"curves": SpiralCurves(clearance=0.0)}, "clearance above 0, got 500"),
        ({"count": 0}, "count expected a positive"),
    ],
)
def test_impossible_windows_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key: spirals(**arguments, key=key), jax.random.key(0))


def test_the_precision_is_that_of_the_session():
    with jax.enable_x64():
        drawn = jax.eval_shape(lambda key: spirals(5, key=key, points=30), jax.random.key(0))
        assert drawn.observed.values.dtype == drawn.observed.times.dtype == jnp.float64
