import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm

from jaxvae.data.series import circular, circular_field, linear_spiral


def test_the_states_solve_the_ode():
    # The flow of the field for a further time s is the rotation by s.
    stops = jax.jit(lambda key: circular(key=key))(jax.random.key(0))
    assert stops.states.shape == (12_800, 2)
    cosine, sine = np.cos(np.float64(stops.times)), np.sin(np.float64(stops.times))
    np.testing.assert_allclose(stops.states, np.stack([cosine, sine], -1), atol=2e-7)

    def solution(time):
        return jnp.stack([jnp.cos(time), jnp.sin(time)])

    _, velocity = jax.jit(
        jax.vmap(lambda time: jax.jvp(solution, (time,), (jnp.ones_like(time),)))
    )(stops.times)
    field = jax.jit(jax.vmap(circular_field))(stops.states)
    np.testing.assert_allclose(velocity, field, atol=2e-7)


def test_stop_times_are_uniform():
    times = np.asarray(jax.jit(lambda key: circular(100_000, key=key))(jax.random.key(1)).times)
    assert times.min() >= 0
    assert times.max() < 2 * np.pi
    assert stats.kstest(times, stats.uniform(0, 2 * np.pi).cdf).pvalue > 1e-3


def test_the_precision_is_that_of_the_session():
    with jax.enable_x64():
        stops = jax.jit(lambda key: circular(100, key=key))(jax.random.key(2))
        assert stops.states.dtype == jnp.float64
        np.testing.assert_allclose(np.hypot(*stops.states.T), 1, atol=1e-15)


@pytest.mark.usefixtures("without_type_checks")
def test_no_stop_times_are_refused():
    with pytest.raises(ValueError, match="count expected a positive integer, got 0"):
        circular(0, key=jax.random.key(0))


W = np.array([[-0.1, 1.0], [-0.2, -0.1]])
TIMES = np.linspace(0, 25, 200)


def exact(matrix, initial, times):
    return np.stack([expm(matrix * time) @ initial for time in np.float64(times)])


@jax.jit
def _moving(times, matrix, initial):
    def solve(each):
        return linear_spiral(each, matrix=matrix, initial=initial).values

    return jax.jvp(solve, (times,), (jnp.ones_like(times),))


def moving(matrix, initial):
    """States and their derivatives along time in float64."""
    with jax.enable_x64():
        solved = _moving(jnp.asarray(TIMES), jnp.asarray(matrix), jnp.asarray(initial))
        return tuple(np.asarray(array) for array in solved)


def test_the_example_is_solved_as_by_an_oracle():
    times = jnp.asarray(TIMES, jnp.float32)
    spiral = jax.jit(linear_spiral)(times)
    np.testing.assert_allclose(spiral.values, exact(W, [1, 0], times), atol=1e-6)
    np.testing.assert_array_equal(spiral.times, times)
    assert np.asarray(spiral.mask).all()
    # In coordinates in which the rotation is a circle the radius is exp(-t / 10).
    x, y = np.asarray(spiral.values).T
    np.testing.assert_allclose(np.hypot(x, y * np.sqrt(5)), np.exp(-TIMES / 10), rtol=2e-6)


@pytest.mark.parametrize("initial", [[1.0, 0.0], [-2.0, 3.0]])
@pytest.mark.parametrize("matrix", [W, [[0.3, 0.0], [0.1, -2.0]], [[0.0, 1.0], [0.0, 0.0]]])
def test_solutions_in_float64_move_along_the_field(matrix, initial):
    values, velocity = moving(matrix, initial)
    np.testing.assert_allclose(
        values, exact(np.array(matrix), initial, TIMES), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(velocity, values @ np.array(matrix).T, rtol=1e-11, atol=1e-11)


def test_the_published_trajectory_is_that_of_the_transpose():
    published = np.stack([np.array([1, 0]) @ expm(W * time) for time in TIMES])
    transposed, _ = moving(W.T, [1.0, 0.0])
    np.testing.assert_allclose(transposed, published, atol=1e-12)
    plain, _ = moving(W, [1.0, 0.0])
    np.testing.assert_allclose(transposed * np.array([[1, -0.2]]), plain, atol=1e-12)


@pytest.mark.usefixtures("without_type_checks")
def test_a_matrix_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"got \(2, 2\) and \(3,\)"):
        linear_spiral(jnp.arange(2.0), initial=jnp.ones(3))
