import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae.data.series import circular, circular_field


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
