import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from jaxvae.data.series import linear_spiral

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
