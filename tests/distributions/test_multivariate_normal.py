import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import SUM_ROUNDING, TOLERANCES, assert_near
from scipy import integrate, stats

from jaxvae.distributions import MultivariateNormal, Normal

# Logarithms of the rows' scales, and the size of what is below the diagonal relative to them.
SETTINGS = [
    ((0.0, 0.0, 0.0, 0.0), 0.0),
    ((0.0, 0.0, 0.0, 0.0), 0.7),
    ((-0.5, 0.3, 0.1, -1.0), 0.5),
    ((-14.0, -14.0, -14.0, -14.0), 0.5),
    ((14.0, 14.0, 14.0, 14.0), 0.5),
    ((-14.0, 14.0, -5.0, 5.0), 0.5),
    ((14.0, -14.0, 5.0, -5.0), 1.0),
    ((-40.0, -30.0, 30.0, 40.0), 0.5),
    ((-46.0, -46.0, 0.0, 46.0), 0.1),
    ((3.0, 2.0, 1.0, 0.0), 1.0),
]
BELOW = np.tril_indices(4, -1)
LOWER = np.random.default_rng(0).normal(size=6)
NOISES = [
    np.zeros(4),
    *np.random.default_rng(1).normal(size=(3, 4)),
    30.0 * np.random.default_rng(2).normal(size=4),
    1e4 * np.random.default_rng(3).normal(size=4),
]


log_prob = jax.jit(lambda normal, value: normal.log_prob(value))
score = jax.jit(jax.grad(lambda normal, value: normal.log_prob(value)))


def setting(log_scales, size, dtype, loc=0.0):
    log_scales = np.array(log_scales)
    lower = size * LOWER * np.exp(log_scales)[BELOW[0]]
    loc = loc * np.exp(log_scales)
    return MultivariateNormal(*[jnp.asarray(x, dtype) for x in (loc, log_scales, lower)])


def exact_cholesky(normal):
    d = normal.loc.shape[0]
    factor = mpmath.diag([mpmath.exp(float(x)) for x in normal.log_diagonal])
    for i, j, entry in zip(*np.tril_indices(d, -1), np.float64(normal.lower), strict=True):
        factor[int(i), int(j)] = mpmath.mpf(float(entry))
    return factor


def exact_log_prob(normal, value):
    factor, d = exact_cholesky(normal), normal.loc.shape[0]
    centred = [mpmath.mpf(float(x)) - float(m) for x, m in zip(value, normal.loc, strict=True)]
    noise = []
    for i in range(d):
        noise.append((centred[i] - sum(factor[i, j] * noise[j] for j in range(i))) / factor[i, i])
    return -sum(
        e**2 / 2 + mpmath.log(factor[i, i]) + mpmath.log(2 * mpmath.pi) / 2
        for i, e in enumerate(noise)
    )


def some_normal(d=3, dtype=jnp.float32, seed=0):
    loc, log_diagonal, lower = np.split(
        np.random.default_rng(seed).normal(size=2 * d + d * (d - 1) // 2), [d, 2 * d]
    )
    return MultivariateNormal(
        *[jnp.asarray(x, dtype) for x in (loc, 0.3 * log_diagonal, 0.7 * lower)]
    )


def numpy_parts(normal):
    """The mean and the factor in float64."""
    with mpmath.workdps(30):
        factor = np.array(exact_cholesky(normal).tolist(), np.float64)
    return np.float64(normal.loc), factor


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_log_prob_of_foreign_values_is_exact_from_the_mode_into_the_tails(dtype):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
        for parameters in SETTINGS:
            for loc in (0.0, -1.5):
                normal = setting(*parameters, dtype, loc)
                for noise in NOISES:
                    value = normal.transform(jnp.asarray(noise, dtype))
                    got = log_prob(normal, value)
                    assert got.dtype == dtype
                    exact = float(exact_log_prob(normal, value))
                    assert_near(got, exact, TOLERANCES[dtype], f"{parameters} at {noise}")


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_sample_carries_the_density_of_its_noise_where_solving_would_lose_it(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        for scale in (-46.0, -14.0, 14.0):
            lower = 1e6 * jnp.ones(6, dtype)
            normal = MultivariateNormal(jnp.ones(4, dtype), jnp.full(4, scale, dtype), lower)
            noise = normal.noise.sample(jax.random.key(0))
            value, got = normal.sample_and_log_prob(jax.random.key(0))
            exact = stats.norm.logpdf(np.float64(noise)).sum() - 4 * scale
            assert_near(got, exact, TOLERANCES[dtype])
            loc, factor = numpy_parts(normal)
            np.testing.assert_allclose(value, loc + factor @ np.float64(noise), rtol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_factor_is_filled_row_by_row_and_passes_gradients_to_its_entries_alone(d):
    below = np.tril_indices(d, -1)
    entries = np.arange(1.0, len(below[0]) + 1, dtype=np.float32)
    factor = np.diag(np.exp(np.float32(np.arange(d))))
    factor[below] = entries
    log_diagonal, lower = jnp.arange(d, dtype=jnp.float32), jnp.asarray(entries)

    def cholesky(log_diagonal, lower):
        return MultivariateNormal(jnp.zeros(d), log_diagonal, lower).cholesky

    got, pull = jax.vjp(cholesky, log_diagonal, lower)
    np.testing.assert_allclose(got, factor, rtol=1e-6)
    cotangent = np.float32(np.random.default_rng(0).normal(size=(d, d)))
    wrt_diagonal, wrt_lower = pull(jnp.asarray(cotangent))
    np.testing.assert_allclose(wrt_diagonal, np.diag(cotangent) * np.diag(factor), rtol=1e-6)
    np.testing.assert_array_equal(wrt_lower, cotangent[below])


@pytest.mark.parametrize("parameters", SETTINGS)
def test_moments_and_entropy_are_those_of_the_factor(parameters):
    normal = setting(*parameters, jnp.float32, loc=2.0)
    loc, factor = numpy_parts(normal)
    scale = np.exp(np.float64(normal.log_diagonal))
    exact = factor @ factor.T / np.outer(scale, scale)
    if np.abs(normal.log_diagonal).max() < 40:  # products of scales leave float32 there
        covariance = np.float64(normal.covariance) / np.outer(scale, scale)
        np.testing.assert_allclose(covariance, exact, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(normal.variance / scale**2, np.diag(exact), rtol=1e-5)
    np.testing.assert_array_equal(normal.mean, loc)
    np.testing.assert_array_equal(normal.mode, loc)
    entropy = np.sum(np.log(scale)) + 2 * np.log(2 * np.pi * np.e)
    assert_near(normal.entropy(), entropy, 1e-5)


def test_it_is_scipys():
    normal = some_normal()
    loc, factor = numpy_parts(normal)
    oracle = stats.multivariate_normal(loc, factor @ factor.T)
    value = jnp.array([0.3, -2.0, 1.0])
    np.testing.assert_allclose(
        normal.log_prob(value), oracle.logpdf(value), rtol=1e-5, atol=SUM_ROUNDING
    )
    np.testing.assert_allclose(normal.entropy(), oracle.entropy(), rtol=1e-5, atol=SUM_ROUNDING)


def test_density_integrates_to_one():
    normal = some_normal(2)
    loc, factor = numpy_parts(normal)
    t = np.linspace(-9, 9, 361)
    first, second = np.meshgrid(t, t, indexing="ij")
    # A grid along the principal axes, whose cells have the area |factor| dt^2.
    points = np.stack([first, second], axis=-1) @ factor.T + loc
    log_density = jax.vmap(log_prob, (None, 0))(normal, jnp.float32(points.reshape(-1, 2)))
    density = np.exp(np.float64(log_density)).reshape(first.shape)
    volume = integrate.trapezoid(integrate.trapezoid(density, t), t) * np.prod(np.diag(factor))
    np.testing.assert_allclose(volume, 1.0, rtol=1e-5)


def test_samples_have_every_projection_of_the_distribution():
    normal = some_normal()
    loc, factor = numpy_parts(normal)
    samples = jax.vmap(normal.sample)(jax.random.split(jax.random.key(1), 100_000))
    for seed, direction in enumerate([*np.eye(3), *np.random.default_rng(0).normal(size=(3, 3))]):
        projected = stats.norm(direction @ loc, np.linalg.norm(factor.T @ direction))
        p = stats.kstest(np.float64(samples) @ direction, projected.cdf).pvalue
        assert p > 1e-3, f"{seed}: {p}"


def test_a_diagonal_factor_is_the_diagonal_normal():
    loc, log_scale, value = jax.random.normal(jax.random.key(2), (3, 5))
    full = MultivariateNormal(loc, log_scale, jnp.zeros(10))
    diagonal = Normal(loc, log_scale)
    np.testing.assert_allclose(
        full.log_prob(value), diagonal.log_prob(value), rtol=1e-6, atol=SUM_ROUNDING
    )
    np.testing.assert_allclose(full.entropy(), diagonal.entropy(), rtol=1e-6, atol=SUM_ROUNDING)
    np.testing.assert_allclose(full.variance, diagonal.variance, rtol=1e-6)
    noise = jax.random.normal(jax.random.key(3), (5,))
    np.testing.assert_allclose(full.transform(noise), diagonal.transform(noise), rtol=1e-6)


def test_pathwise_gradients_are_those_of_expectations():
    direction = jnp.array([0.5, -1.0, 0.8])

    def pathwise(normal, key):
        return jnp.square(normal.sample(key) @ direction)

    def expectation(normal):
        """E (a.z)^2 = (a.m)^2 + |L^T a|^2."""
        along = direction.astype(normal.loc.dtype)
        return jnp.square(normal.loc @ along) + jnp.sum(jnp.square(normal.cholesky.T @ along))

    normal, keys = some_normal(), jax.random.split(jax.random.key(4), 100_000)
    samples = jax.jit(jax.vmap(jax.grad(pathwise), (None, 0)))(normal, keys)
    with jax.enable_x64(True):
        exact = jax.grad(expectation)(some_normal(dtype=jnp.float64))
    for got, wanted in zip(jax.tree.leaves(samples), jax.tree.leaves(exact), strict=True):
        error = np.mean(np.float64(got), axis=0) - np.float64(wanted)
        assert np.all(np.abs(error) <= 4 * np.std(got, axis=0) / np.sqrt(len(keys)))


@pytest.mark.parametrize("parameters", SETTINGS)
def test_score_is_its_closed_form(parameters):
    """L^-T e for the mean and tril(L^-T e e^T) - diag(1/L_ii) for the factor, e the noise."""
    with jax.enable_x64(True):
        normal = setting(*parameters, jnp.float64)
        loc, factor = numpy_parts(normal)
        noise = NOISES[1]
        got = score(normal, jnp.asarray(loc + factor @ noise))
        wrt_loc = np.linalg.solve(factor.T, noise)
        wrt_factor = np.outer(wrt_loc, noise)
        wrt_log_diagonal = np.diag(wrt_factor) * np.diag(factor) - 1
        np.testing.assert_allclose(got.loc, wrt_loc, rtol=1e-10)
        np.testing.assert_allclose(got.log_diagonal, wrt_log_diagonal, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(got.lower, wrt_factor[BELOW], rtol=1e-10)


def test_from_cholesky_and_from_covariance_name_the_same_distribution():
    normal = some_normal(4)
    _, factor = numpy_parts(normal)
    above = factor + np.triu(np.ones((4, 4)), 1)
    covariance = factor @ factor.T
    rebuilt = [
        MultivariateNormal.from_cholesky(normal.loc, jnp.asarray(above, jnp.float32)),
        MultivariateNormal.from_covariance(normal.loc, jnp.asarray(covariance, jnp.float32)),
    ]
    for other in rebuilt:
        np.testing.assert_allclose(other.cholesky, factor, rtol=1e-5, atol=1e-6)
    indefinite = MultivariateNormal.from_covariance(jnp.zeros(2), -jnp.eye(2))
    assert np.all(np.isnan(indefinite.log_diagonal))


def test_vmap_makes_batches():
    normals = [some_normal(4, seed=seed) for seed in range(3)]
    values = jax.random.normal(jax.random.key(5), (3, 4))
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *normals)
    got = jax.vmap(log_prob)(batch, values)
    alone = [normal.log_prob(value) for normal, value in zip(normals, values, strict=True)]
    np.testing.assert_allclose(got, alone, rtol=1e-6)


@pytest.mark.parametrize("shapes", [((3,), (3,), (6,)), ((3,), (2,), (3,)), ((), (), (0,))])
def test_parameters_that_do_not_fit_are_refused(shapes, without_type_checks):
    with pytest.raises(ValueError, match=r"expected loc \(d,\), .*row by row"):
        MultivariateNormal(*[jnp.zeros(shape) for shape in shapes])


@pytest.mark.parametrize("make", ["from_cholesky", "from_covariance"])
def test_a_matrix_that_does_not_fit_is_refused(make, without_type_checks):
    with pytest.raises(ValueError, match=rf"{make} expected .*\(2,\) and \(3, 3\).*vmap"):
        getattr(MultivariateNormal, make)(jnp.zeros(2), jnp.eye(3))


def test_an_event_of_another_shape_is_refused(without_type_checks):
    with pytest.raises(ValueError, match=r"log_prob expected .*\(3,\), got \(1, 3\).*vmap"):
        MultivariateNormal(*[jnp.zeros(3)] * 3).log_prob(jnp.zeros((1, 3)))
