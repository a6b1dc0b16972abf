import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae.data.series import periodic
from jaxvae.series import unpad


def made(seed=0, **arguments):
    return jax.jit(lambda key: periodic(key=key, **arguments))(jax.random.key(seed))


@pytest.fixture(scope="module")
def data():
    return made()


def test_the_clean_values_are_sinusoids_of_their_parameters(data):
    with jax.enable_x64():
        exact = made(amplitude=(0.5, 2.0))
        phase = 2 * np.pi * np.asarray(exact.frequency)[:, None] * np.asarray(exact.target.times)
        wave = np.asarray(exact.amplitude)[:, None] * np.sin(phase)
        expected = np.asarray(exact.level)[:, None] + wave
        np.testing.assert_allclose(exact.clean[..., 0], expected, atol=1e-13)
    np.testing.assert_allclose(data.clean[:, 0, 0], data.level, rtol=1e-6)


def test_they_solve_the_harmonic_oscillator():
    # The second derivative along time is -(2 pi f)^2 times the distance to the level.
    with jax.enable_x64():
        drawn = made(count=20)

        def wave(time, row):
            angle = 2 * jnp.pi * drawn.frequency[row] * time
            return drawn.level[row] + drawn.amplitude[row] * jnp.sin(angle)

        second = jax.vmap(jax.vmap(jax.grad(jax.grad(wave)), (0, None)), (0, 0))
        bend = jax.jit(second)(drawn.target.times, jnp.arange(20))
        rate = (2 * np.pi * np.asarray(drawn.frequency)) ** 2
        distance = np.asarray(drawn.clean)[..., 0] - np.asarray(drawn.level)[:, None]
        np.testing.assert_allclose(bend, -rate[:, None] * distance, atol=1e-11)


def test_the_laws_are_the_published_ones():
    drawn = made(1, count=20_000, points=2)
    for values, distribution in (
        (drawn.frequency, stats.uniform(0.4, 0.4)),
        (drawn.level, stats.norm(1, 0.1)),
        (np.ravel(drawn.target.values - drawn.clean), stats.norm(0, 0.01)),
    ):
        assert stats.kstest(np.asarray(values), distribution.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(drawn.amplitude, 1)


def test_times_are_sorted_uniform_draws_after_a_first_at_zero():
    drawn = made(2, count=1000, shared_times=False)
    times = np.asarray(drawn.target.times)
    assert times.shape == (1000, 100)
    assert not times[:, 0].any()
    # 1,000 x 99 draws of 23 bits would tie now and then.
    assert (np.diff(times, axis=1) > 0).all()
    assert times.max() <= 5
    assert stats.kstest(times[:, 1:].ravel(), stats.uniform(0, 5).cdf).pvalue > 1e-3


def test_times_are_shared_unless_asked_otherwise(data):
    times = np.asarray(data.target.times)
    np.testing.assert_array_equal(times, np.broadcast_to(times[0], times.shape))


def test_a_fraction_of_the_noisy_points_is_observed(data):
    drawn = made(observed_fraction=0.1)
    np.testing.assert_array_equal(drawn.target.values, data.target.values)
    assert drawn.observed.values.shape == (1000, 10, 1)
    for kept, target in zip(unpad(drawn.observed), unpad(drawn.target), strict=True):
        places = np.searchsorted(target.times, kept.times)
        np.testing.assert_array_equal(target.times[places], kept.times)
        np.testing.assert_array_equal(target.values[places], kept.values)
    assert len({tuple(row) for row in np.asarray(drawn.observed.times).tolist()}) == 1000


@pytest.mark.parametrize(("fraction", "seen"), [(0.29, 29), (0.505, 50), (1.0, 100)])
def test_the_number_of_observed_points_is_rounded_down(fraction, seen):
    shapes = jax.eval_shape(
        lambda key: periodic(observed_fraction=fraction, key=key), jax.random.key(0)
    )
    assert shapes.observed.times.shape == (1000, seen)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.2, 0.009])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=f"observed_fraction expected .* got {fraction}"):
        periodic(observed_fraction=fraction, key=jax.random.key(0))
