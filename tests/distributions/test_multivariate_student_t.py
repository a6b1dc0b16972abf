from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import TOLERANCES, assert_near
from samplers import OPTIONS
from scipy import stats

from jaxvae.distributions import MultivariateNormal, MultivariateStudentT, StudentT

LOG_DFS = (-7.0, -2.0, -0.5, 0.0, 0.3, 0.8, 2.0, 5.0, 9.0, 13.8)
DIMENSIONS = (1, 2, 5)


def make(d, log_df, dtype=jnp.float32):
    rng = np.random.default_rng(d)
    arrays = [rng.normal(size=n) for n in (d, d, d * (d - 1) // 2)]
    return MultivariateStudentT(*[jnp.asarray(a, dtype) for a in (*arrays, log_df)])


def matrix(distribution):
    """L as the parameters say, written out."""
    d = len(distribution.loc)
    result = np.diag(np.exp(np.float64(distribution.log_diagonal)))
    result[np.tril_indices(d, -1)] = np.float64(distribution.lower)
    return result


def exact_terms(distribution):
    """The constant and half the exponent's factor, mpf numbers."""
    d, nu = len(distribution.loc), mpmath.exp(mpmath.mpf(float(distribution.log_df)))
    whole = (nu + d) / 2
    constant = mpmath.loggamma(whole) - mpmath.loggamma(nu / 2) - d * mpmath.log(nu * mpmath.pi) / 2
    return (
        constant - sum(map(mpmath.mpf, np.float64(distribution.log_diagonal).tolist())),
        whole,
        nu,
    )


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("d", DIMENSIONS)
def test_log_prob_and_entropy_are_exact_from_heavy_to_normal_tails(d, dtype):
    look_at = jax.jit(lambda d, values: (jax.vmap(d.log_prob)(values), d.entropy()))
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(40):
        for log_df in LOG_DFS:
            distribution = make(d, log_df, dtype)
            factor = mpmath.matrix(matrix(distribution).tolist())
            steps = np.outer([0.0, 0.1, 1.0, 30.0, 1e4, 1e25], np.linspace(1, -1.3, d))
            values = np.asarray(steps, dtype) + np.asarray(distribution.loc)
            constant, whole, nu = exact_terms(distribution)
            exact = []
            for value in np.float64(values):
                deviation = mpmath.matrix(
                    [
                        mpmath.mpf(v) - m
                        for v, m in zip(
                            value.tolist(), np.float64(distribution.loc).tolist(), strict=True
                        )
                    ]
                )
                z = mpmath.lu_solve(factor, deviation)
                square = mpmath.fsum(v * v for v in z)
                exact.append(float(constant - whole * mpmath.log1p(square / nu)))
            # x - mu is rounded like x and mu; in float32 a conditioned system costs a digit.
            got, got_entropy = look_at(distribution, values)
            assert_near(got, exact, 3 * TOLERANCES[dtype], f"{log_df}")
            digammas = mpmath.psi(0, whole) - mpmath.psi(0, nu / 2)
            exact_entropy = whole * digammas - constant
            assert_near(got_entropy, float(exact_entropy), TOLERANCES[dtype], f"{log_df}")


def test_gradients_stay_right_at_the_centre_and_far_out():
    distribution = make(2, 1.0)
    slope = jax.grad(distribution.log_prob)
    np.testing.assert_array_equal(slope(distribution.loc), np.zeros(2))
    nu = float(jnp.exp(distribution.log_df))
    # Far out the density falls like |x|^-(nu + d), whose slope along x is -(nu + d)/|x|.
    far = distribution.loc + jnp.array([3e24, -4e24])
    along = float(jnp.dot(slope(far), jnp.array([0.6, -0.8]))) * 5e24
    np.testing.assert_allclose(along, -(nu + 2), 1e-5)


def test_one_dimension_is_student_t_and_many_degrees_are_normal():
    x = jnp.array([0.7])
    distribution = make(1, 0.5)
    alone = StudentT(distribution.loc, distribution.log_diagonal, distribution.log_df[None])
    np.testing.assert_allclose(distribution.log_prob(x), alone.log_prob(x), 1e-5)
    np.testing.assert_allclose(distribution.entropy(), alone.entropy(), 1e-5)
    distribution = make(3, 18.0)
    normal = MultivariateNormal(distribution.loc, distribution.log_diagonal, distribution.lower)
    x = distribution.loc + jnp.array([0.1, -1.0, 2.0])
    np.testing.assert_allclose(distribution.log_prob(x), normal.log_prob(x), 1e-5)
    np.testing.assert_allclose(distribution.entropy(), normal.entropy(), 1e-5)
    np.testing.assert_allclose(distribution.covariance, normal.covariance, 1e-5)


def test_moments_are_nan_and_infinite_where_they_are():
    np.testing.assert_array_equal(make(2, -0.1).mean, [np.nan] * 2)
    np.testing.assert_array_equal(make(2, -0.1).variance, [np.nan] * 2)
    np.testing.assert_array_equal(make(2, 0.5).variance, [np.inf] * 2)
    distribution = make(3, 1.2)
    nu = np.exp(1.2)
    np.testing.assert_array_equal(distribution.mean, distribution.loc)
    exact = matrix(distribution) @ matrix(distribution).T * nu / (nu - 2)
    np.testing.assert_allclose(distribution.covariance, exact, 1e-5)
    np.testing.assert_allclose(distribution.variance, np.diag(exact), 1e-5)


@partial(jax.jit, compiler_options=OPTIONS)
def sample_of(distribution, keys):
    return jax.vmap(distribution.sample)(keys)


@pytest.mark.parametrize("log_df", [-2.0, 0.3, 5.0, 13.8])
def test_samples_have_f_distributed_squares_and_t_distributed_projections(log_df):
    distribution = make(3, log_df)
    sample = np.float64(sample_of(distribution, jax.random.split(jax.random.key(0), 20_000)))
    noise = np.linalg.solve(matrix(distribution), (sample - np.float64(distribution.loc)).T)
    nu = np.exp(log_df)
    assert stats.kstest(np.sum(noise**2, axis=0) / 3, stats.f(3, nu).cdf).pvalue > 1e-3
    for direction in ([1.0, 0.0, 0.0], [0.6, 0.0, -0.8]):
        assert stats.kstest(np.array(direction) @ noise, stats.t(nu).cdf).pvalue > 1e-3


def test_gradients_of_expectations_are_those_of_the_closed_form():
    direction = jnp.array([0.3, -1.0])

    def drawn(distribution, key):
        return jnp.square(jnp.dot(direction, distribution.sample(key)))

    def expected(distribution):
        mean = jnp.dot(direction, distribution.mean)
        return mean**2 + jnp.dot(direction, distribution.covariance @ direction)

    distribution = make(2, 2.5)
    keys = jax.random.split(jax.random.key(1), 10_000)
    gradients = jax.jit(jax.vmap(jax.grad(drawn), (None, 0)), compiler_options=OPTIONS)
    got, exact = gradients(distribution, keys), jax.jit(jax.grad(expected))(distribution)
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True):
        g = np.float64(g)
        assert np.all(np.abs(np.mean(g, axis=0) - e) <= 4 * np.std(g, axis=0) / 100)


def test_other_shapes_are_refused(without_type_checks):
    good = make(2, 0.0)
    with pytest.raises(ValueError, match=r"MultivariateStudentT expected .*vmap adds batch"):
        MultivariateStudentT(good.loc, good.log_diagonal, good.lower, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"MultivariateStudentT.log_prob expected .*sizes agree"):
        good.log_prob(jnp.zeros(3))
