from functools import cache, partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import TOLERANCES, assert_near
from samplers import OPTIONS
from scipy import stats

from jaxvae.distributions import Beta, Dirichlet

# log_concentration
SETTINGS = [
    [-18.0, -18.0],
    [-7.0, 13.8, 0.0],
    [-1.0, -0.5, -2.0, 1.0, 0.3],
    [0.0, 0.0, 0.0],
    [0.3, 2.0, 0.7],
    [3.0, -2.0, 1.0, 0.1, 0.2],
    [7.0, 7.2, 6.8],
    [13.8, 2.0, -3.0],
    [13.8, 13.7, 13.6, 13.9, 13.5],
    [1.3],
]


@jax.jit
def look_at(log_concentration, x):
    """Densities and scores at the rows of x, and the entropy."""
    score = jax.value_and_grad(lambda a, x: Dirichlet(a).log_prob(x))
    rows = jax.vmap(score, (None, 0))(log_concentration, x)
    return *rows, Dirichlet(log_concentration).entropy()


def exact_log_prob(x, log_a):
    a = [mpmath.exp(mpmath.mpf(float(v))) for v in log_a]
    logs = [(c - 1) * mpmath.log(mpmath.mpf(float(v))) for c, v in zip(a, x, strict=True)]
    return mpmath.fsum(logs) - sum(map(mpmath.loggamma, a)) + mpmath.loggamma(sum(a))


def exact_entropy(log_a):
    a = [mpmath.exp(mpmath.mpf(float(v))) for v in log_a]
    whole = sum(a)
    log_beta = sum(map(mpmath.loggamma, a)) - mpmath.loggamma(whole)
    digammas = sum((c - 1) * mpmath.psi(0, c) for c in a)
    return log_beta - digammas + (whole - len(a)) * mpmath.psi(0, whole)


def exact_score(x, log_a):
    a = [mpmath.exp(mpmath.mpf(float(v))) for v in log_a]
    psi = mpmath.psi(0, sum(a))
    return [
        float(c * (mpmath.log(mpmath.mpf(float(v))) - mpmath.psi(0, c) + psi))
        for c, v in zip(a, x, strict=True)
    ]


# A program for each number of parts and dtype; the other numbers of parts add no digits.
@pytest.mark.parametrize(
    ("dtype", "log_a"),
    [
        pytest.param(
            dtype,
            log_a,
            id=f"{dtype.__name__}-{log_a}",
            marks=() if dtype == jnp.float32 or len(log_a) == 3 else pytest.mark.exhaustive,
        )
        for dtype in TOLERANCES
        for log_a in SETTINGS
    ],
)
def test_log_prob_entropy_and_scores_are_exact(dtype, log_a):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(50):
        held = np.asarray(log_a, dtype)
        rng = np.random.default_rng(0)
        typical = np.clip(rng.dirichlet(np.exp(log_a), 3), 1e-30, None)
        x = np.asarray([*typical, np.full(len(log_a), 1 / len(log_a))], dtype)
        densities, scores, entropy = look_at(held, x)
        exact = [float(exact_log_prob(row, held)) for row in x]
        assert_near(densities, exact, TOLERANCES[dtype])
        assert_near(entropy, float(exact_entropy(held)), TOLERANCES[dtype])
        if max(np.abs(log_a)) < 8:
            exact = np.array([exact_score(row, held) for row in x])
            # Of the spread of the score, the root of a.
            spread = np.maximum(1.0, np.exp(0.5 * np.array(log_a)))
            assert_near(np.float64(scores) / spread, exact / spread, TOLERANCES[dtype])


def test_log_prob_at_the_boundary():
    distribution = Dirichlet(jnp.array([0.0, 0.5, 1.0]))
    assert float(distribution.log_prob(jnp.array([1.5, -0.25, -0.25]))) == -jnp.inf
    assert float(distribution.log_prob(jnp.array([0.5, 0.5, 0.0]))) == -jnp.inf
    assert float(Dirichlet(jnp.array([0.1, -1.0])).log_prob(jnp.array([1.0, 0.0]))) == jnp.inf
    x = jnp.array([0.0, 0.4, 0.6])  # an exponent of zero: the boundary is like the inside
    inside = distribution.log_prob(jnp.array([1e-30, 0.4, 0.6]))
    np.testing.assert_allclose(distribution.log_prob(x), inside, 1e-5)


def test_two_parts_are_beta_and_rows_are_independent():
    log_a, log_b = jnp.array([0.3, 2.0, -1.0]), jnp.array([1.0, -0.2, -0.5])
    x = jnp.array([0.2, 0.7, 0.5])
    both = Dirichlet(jnp.stack([log_a, log_b], -1))
    np.testing.assert_allclose(
        both.log_prob(jnp.stack([x, 1 - x], -1)), Beta(log_a, log_b).log_prob(x), 1e-5
    )
    np.testing.assert_allclose(both.entropy(), Beta(log_a, log_b).entropy(), 1e-5)
    np.testing.assert_allclose(both.mode[1], [np.nan, np.nan])


def test_moments_are_those_of_scipy():
    log_a = jnp.array([0.3, 2.0, 0.7])
    distribution, exact = Dirichlet(log_a), stats.dirichlet(np.exp(np.float64(log_a)))
    np.testing.assert_allclose(distribution.mean, exact.mean(), 1e-5)
    np.testing.assert_allclose(distribution.variance, exact.var(), 1e-5)
    density_slope = jax.grad(distribution.log_prob)(distribution.mode)
    # Every part's derivative is the same at the mode: none can grow at another's expense.
    np.testing.assert_allclose(density_slope, jnp.full(3, density_slope[0]), 1e-4)


LOG_A, WEIGHTS = np.float32([-1.0, 0.5, 2.0]), np.float32([1.0, -2.0, 0.5])


@partial(jax.jit, compiler_options=OPTIONS)
@partial(jax.vmap, in_axes=(None, 0))
def draw(log_a, key):
    """A sample, and the gradient of its weighted sum."""
    sample, pull_back = jax.vjp(lambda a: Dirichlet(a).sample(key), log_a)
    return sample, *pull_back(jnp.asarray(WEIGHTS))


@cache
def drawn():
    found = draw(LOG_A, jax.random.split(jax.random.key(0), 20_000))
    return tuple(map(np.float64, found))


def test_parts_of_samples_are_beta():
    sample, _ = drawn()
    np.testing.assert_allclose(np.sum(sample, axis=1), 1.0, rtol=1e-6)
    a = np.exp(np.float64(LOG_A))
    for k in range(3):
        assert stats.kstest(sample[:, k], stats.beta(a[k], a.sum() - a[k]).cdf).pvalue > 1e-3


def test_gradients_of_expectations_are_those_of_the_closed_form():
    _, gradients = drawn()
    exact = jax.jit(jax.grad(lambda log_a: jnp.sum(WEIGHTS * jax.nn.softmax(log_a))))(LOG_A)
    error = np.abs(np.mean(gradients, axis=0) - exact)
    assert np.all(error <= 4 * np.std(gradients, axis=0) / np.sqrt(len(gradients)))


def test_a_scalar_is_refused():
    with pytest.raises(ValueError, match=r"Dirichlet expected .* last axis of parts.*Beta"):
        Dirichlet(jnp.array(0.0))
