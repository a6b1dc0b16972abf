import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae.distributions import Exponential, Normal
from jaxvae.metrics.annealing.hamiltonian import Point, evaluate, leapfrog, transition

WEIGHTS = jnp.array([0.3, 0.7])


def curved(z):
    """Neither quadratic nor separable."""
    return -jnp.sum(jnp.cosh(z)) - 0.5 * jnp.sin(z[0]) * z[1]


def narrow(z):
    return -0.5 * jnp.sum((z - 0.5) ** 2)


PARTS = (curved, narrow)


def follow(state, step_size, num_steps, weights=(0.3, 0.7)):
    """(position, momentum), one after the other in a vector, before and after."""
    position, momentum = jnp.split(state, 2)
    point, momentum = leapfrog(
        PARTS,
        jnp.array(weights),
        evaluate(PARTS, position),
        momentum,
        step_size=jnp.asarray(step_size),
        num_steps=num_steps,
    )
    return jnp.concatenate([point.position, momentum])


def energy(state):
    position, momentum = jnp.split(state, 2)
    log_density = 0.3 * curved(position) + 0.7 * narrow(position)
    return 0.5 * jnp.sum(momentum**2) - log_density


STATES = [[0.3, -1.2, 0.4, 1.1], [2.0, 1.0, -0.7, 0.2], [0.0, 0.0, 2.0, -2.0]]


@pytest.mark.parametrize("state", STATES)
def test_the_leapfrog_is_undone_by_reversing_the_momentum_and_keeps_volumes(state):
    with jax.enable_x64(True):
        start, flip = jnp.array(state), jnp.array([1.0, 1.0, -1.0, -1.0])
        end = follow(start, 0.3, 12)
        assert np.abs(end - start).max() > 0.1
        np.testing.assert_allclose(flip * follow(flip * end, 0.3, 12), start, atol=1e-12)
        jacobian = jax.jacobian(lambda state: follow(state, 0.3, 12))(start)
        np.testing.assert_allclose(np.linalg.det(jacobian), 1.0, rtol=1e-11)


@pytest.mark.parametrize("state", STATES)
def test_the_energy_errs_by_the_square_of_the_step(state):
    with jax.enable_x64(True):
        start = jnp.array(state)
        errors = [
            float(energy(follow(start, 0.9 / steps, steps)) - energy(start))
            for steps in (20, 40, 80)
        ]
    ratios = np.divide(errors[:-1], errors[1:])
    np.testing.assert_allclose(ratios, 4.0, rtol=0.05)


def test_a_point_holds_what_its_parts_say():
    z = jnp.array([0.3, -0.4])
    point = evaluate(PARTS, z)
    np.testing.assert_allclose(point.log_densities, [curved(z), narrow(z)], rtol=1e-6)
    np.testing.assert_allclose(
        point.gradients, [jax.grad(curved)(z), jax.grad(narrow)(z)], rtol=1e-6
    )


def run(parts, weights, starts, *, step_size, num_steps=3, transitions=10, seed=0):
    """Where many chains end, and their mean acceptance."""

    def chain(start, key):
        def move(point, number):
            return transition(
                parts,
                jnp.array(weights),
                point,
                key=jax.random.fold_in(key, number),
                step_size=jnp.asarray(step_size),
                num_steps=num_steps,
            )

        point, acceptance = jax.lax.scan(move, evaluate(parts, start), jnp.arange(transitions))
        return point, jnp.mean(acceptance)

    keys = jax.random.split(jax.random.key(seed), len(starts))
    points, acceptance = jax.jit(jax.vmap(chain))(starts, keys)
    # What a point says of its densities is what they are.
    fresh = jax.vmap(lambda z: evaluate(parts, z))(points.position)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), points, fresh)
    assert isinstance(points, Point)
    return np.asarray(points.position), float(jnp.mean(acceptance))


def logistic(z):
    return jnp.sum(-z - 2.0 * jax.nn.softplus(-z))


def test_a_known_law_is_left_as_it_is_however_coarse_the_steps():
    starts = jnp.asarray(stats.logistic.rvs(size=(50_000, 1), random_state=0), jnp.float32)
    ends, acceptance = run((logistic,), [1.0], starts, step_size=3.4)
    assert 0.3 < acceptance < 0.8  # uncorrected, the distribution would be another one
    assert np.mean(np.abs(ends - starts) > 0.1) > 0.8
    assert stats.kstest(ends[:, 0], stats.logistic.cdf).pvalue > 1e-3


def test_chains_reach_the_geometric_mean_of_two_laws_from_elsewhere():
    # N(0, 1)^0.25 N(3, 0.5^2)^0.75 has precision 0.25 + 3 and mean 9/3.25.
    first = Normal(jnp.zeros(2), jnp.zeros(2)).log_prob
    second = Normal(jnp.full(2, 3.0), jnp.full(2, np.log(0.5))).log_prob
    starts = jnp.full((50_000, 2), -4.0)
    ends, _ = run((first, second), [0.25, 0.75], starts, step_size=0.3, transitions=40)
    target = stats.norm(9 / 3.25, 3.25**-0.5)
    for column in ends.T:
        assert stats.kstest(column, target.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(ends.T)[0, 1]) < 4 / np.sqrt(50_000)


def test_what_lies_outside_the_support_is_rejected():
    target = Exponential(jnp.full(1, np.log(2.0)))
    starts = jnp.asarray(stats.expon.rvs(scale=0.5, size=(50_000, 1), random_state=1), jnp.float32)
    ends, acceptance = run((target.log_prob,), [1.0], starts, step_size=0.3)
    assert acceptance < 0.9
    assert stats.kstest(ends[:, 0], stats.expon(scale=0.5).cdf).pvalue > 1e-3


def test_a_proposal_that_is_not_a_number_is_rejected_and_an_impossible_start_is_left():
    def undefined(z):
        return jnp.where(z[0] > 0, jnp.nan, -0.5 * z[0] ** 2)

    ends, _ = run((undefined,), [1.0], jnp.full((2000, 1), -0.1), step_size=0.7)
    assert np.all(ends <= 0)
    assert len(np.unique(ends)) > 1000

    half = Exponential(jnp.zeros(1))
    starts = jnp.full((2000, 1), -0.1)
    ends, _ = run((half.log_prob,), [1.0], starts, step_size=0.7, transitions=40)
    assert np.mean(ends > 0) > 0.99
