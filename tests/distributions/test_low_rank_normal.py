import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import SUM_ROUNDING, TOLERANCES, assert_near
from scipy import integrate, stats

from jaxvae.distributions import LowRankNormal, Normal

RANDOM = np.random.default_rng(0).normal(size=(5, 4))
NOISE = np.random.default_rng(1).normal(size=(3, 8))
# d, r, the logarithm of each scale, and the size of the factor.
SETTINGS = [
    (4, 2, 0.0, 1.0),
    (4, 2, -14.0, 1e-6),
    (4, 2, 14.0, 1e6),
    (4, 2, 14.0, 1e-6),
    (4, 2, -14.0, 0.0),
    (4, 2, -3.0, 0.1),
    (4, 2, -1.0, 1.0),
    (2, 3, 0.5, 1.0),
    (2, 3, -2.0, 0.3),
    (1, 1, 0.0, 1.0),
]
# In float32 these keep no digit of a value that has been rounded, only of the noise.
STEEP = [
    (d, r, log_scale, 1.0) for d, r in ((4, 2), (2, 3), (1, 1)) for log_scale in (-14.0, -40.0)
]


log_prob = jax.jit(lambda normal, value: normal.log_prob(value))
transform_and_log_prob = jax.jit(lambda normal, noise: normal.transform_and_log_prob(noise))
score = jax.jit(jax.grad(lambda normal, value: normal.log_prob(value)))


def setting(d, r, log_scale, size, dtype):
    loc, log_scales = size * RANDOM[:d, 0], log_scale + 0.2 * RANDOM[:d, 1]
    return LowRankNormal(*[jnp.asarray(x, dtype) for x in (loc, log_scales, size * RANDOM[:d, :r])])


def exact(normal):
    """The mean, the scales and the factor in mpmath."""
    factor = mpmath.matrix(np.float64(normal.factor).tolist())
    scales = [mpmath.exp(float(x)) for x in normal.log_scale]
    return [mpmath.mpf(float(x)) for x in normal.loc], scales, factor


def exact_covariance(normal):
    _, scales, factor = exact(normal)
    return mpmath.diag([s**2 for s in scales]) + factor * factor.T


def exact_log_prob(normal, value):
    loc, covariance = exact(normal)[0], exact_covariance(normal)
    centred = mpmath.matrix([x - m for x, m in zip(value, loc, strict=True)])
    square = (centred.T * mpmath.lu_solve(covariance, centred))[0]
    determinant = mpmath.det(2 * mpmath.pi * covariance)
    return float(-(square + mpmath.log(determinant)) / 2)


def numpy_covariance(normal):
    with mpmath.workdps(30):
        return np.array(exact_covariance(normal).tolist(), np.float64)


def some_normal(d=3, r=2, dtype=jnp.float32):
    return setting(d, r, -0.3, 0.8, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_log_prob_of_foreign_values_is_exact_from_the_mode_into_the_tails(dtype):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(80):
        for parameters in SETTINGS:
            normal = setting(*parameters, dtype)
            for size in (0.0, 1.0, 30.0, 1e4):
                noise = jnp.asarray(size * NOISE[0, : sum(parameters[:2])], dtype)
                value = normal.transform(noise)
                got = log_prob(normal, value)
                assert got.dtype == dtype
                wanted = exact_log_prob(normal, [mpmath.mpf(float(x)) for x in value])
                assert_near(got, wanted, TOLERANCES[dtype], f"{parameters} at {size}")


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_density_of_a_sample_is_exact_for_every_scale(dtype):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(120):
        for parameters in SETTINGS + STEEP:
            normal = setting(*parameters, dtype)
            loc, scales, factor = exact(normal)
            for noise in NOISE[:, : sum(parameters[:2])]:
                value, got = transform_and_log_prob(normal, jnp.asarray(noise, dtype))
                own, common = np.split(np.float64(jnp.asarray(noise, dtype)), [parameters[0]])
                shared = factor * mpmath.matrix(common.tolist())
                z = [m + s * e + w for m, s, e, w in zip(loc, scales, own, shared, strict=True)]
                size = max(1.0, *[abs(float(x)) for x in z])
                assert_near(np.float64(value) / size, [float(x / size) for x in z], 1e-6)
                assert_near(got, exact_log_prob(normal, z), TOLERANCES[dtype], f"{parameters}")


@pytest.mark.parametrize("parameters", SETTINGS + STEEP)
def test_moments_and_entropy_are_those_of_the_covariance(parameters):
    normal = setting(*parameters, jnp.float32)
    with mpmath.workdps(80):
        determinant = mpmath.det(2 * mpmath.pi * mpmath.e * exact_covariance(normal))
        assert_near(normal.entropy(), float(mpmath.log(determinant) / 2), 1e-5)
    covariance = numpy_covariance(normal)
    largest = np.abs(covariance).max()
    np.testing.assert_allclose(normal.covariance / largest, covariance / largest, atol=1e-5)
    np.testing.assert_allclose(normal.variance, np.diag(covariance), rtol=1e-5)
    np.testing.assert_array_equal(normal.mean, normal.loc)
    np.testing.assert_array_equal(normal.mode, normal.loc)


def test_density_integrates_to_one():
    normal = some_normal(2, 1)
    loc, factor = np.float64(normal.loc), np.linalg.cholesky(numpy_covariance(normal))
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
    loc, covariance = np.float64(normal.loc), numpy_covariance(normal)
    samples = jax.vmap(normal.sample)(jax.random.split(jax.random.key(1), 100_000))
    for seed, direction in enumerate([*np.eye(3), *np.random.default_rng(0).normal(size=(3, 3))]):
        projected = stats.norm(direction @ loc, np.sqrt(direction @ covariance @ direction))
        p = stats.kstest(np.float64(samples) @ direction, projected.cdf).pvalue
        assert p > 1e-3, f"{seed}: {p}"


def test_without_a_factor_it_is_the_diagonal_normal():
    loc, log_scale, value = jax.random.normal(jax.random.key(2), (3, 5))
    low_rank, diagonal = LowRankNormal(loc, log_scale, jnp.zeros((5, 2))), Normal(loc, log_scale)
    np.testing.assert_allclose(
        low_rank.log_prob(value), diagonal.log_prob(value), rtol=1e-6, atol=SUM_ROUNDING
    )
    np.testing.assert_allclose(low_rank.entropy(), diagonal.entropy(), rtol=1e-6, atol=SUM_ROUNDING)
    np.testing.assert_allclose(low_rank.variance, diagonal.variance, rtol=1e-6)
    noise = jax.random.normal(jax.random.key(3), (7,))
    same = diagonal.transform(noise[:5])
    np.testing.assert_allclose(low_rank.transform(noise), same, rtol=1e-6)


def test_pathwise_gradients_are_those_of_expectations():
    direction = np.array([0.5, -1.0, 0.8])

    def pathwise(normal, key):
        return jnp.square(normal.sample(key) @ jnp.asarray(direction, jnp.float32))

    def expectation(normal):
        """E (a.z)^2 = (a.m)^2 + |s a|^2 + |W^T a|^2."""
        own = jnp.exp(normal.log_scale) * direction
        return sum(jnp.sum(jnp.square(x @ direction)) for x in (normal.loc, normal.factor.T)) + (
            jnp.sum(jnp.square(own))
        )

    normal, keys = some_normal(), jax.random.split(jax.random.key(4), 100_000)
    samples = jax.jit(jax.vmap(jax.grad(pathwise), (None, 0)))(normal, keys)
    with jax.enable_x64(True):
        wanted = jax.grad(expectation)(some_normal(dtype=jnp.float64))
    for got, mean in zip(jax.tree.leaves(samples), jax.tree.leaves(wanted), strict=True):
        error = np.mean(np.float64(got), axis=0) - np.float64(mean)
        assert np.all(np.abs(error) <= 4 * np.std(got, axis=0) / np.sqrt(len(keys)))


@pytest.mark.parametrize("parameters", SETTINGS)
def test_score_is_its_closed_form(parameters):
    """G = (a a^T - inverse)/2 for the covariance with a = inverse (x - m): a for the mean,
    2 s^2 diag G for log s, and 2 G W for the factor."""
    with jax.enable_x64(True):
        normal = setting(*parameters, jnp.float64)
        noise = NOISE[1, : sum(parameters[:2])]
        value = normal.transform(jnp.asarray(noise))
        got = score(normal, value)
        inverse = np.linalg.inv(numpy_covariance(normal))
        a = inverse @ np.float64(value - normal.loc)
        slope = (np.outer(a, a) - inverse) / 2
        scale = np.exp(np.float64(normal.log_scale))
        # In units of the scales, in which every gradient is of order one.
        np.testing.assert_allclose(scale * got.loc, scale * a, rtol=1e-9, atol=1e-9)
        wrt_log_scale = 2 * scale**2 * np.diag(slope)
        np.testing.assert_allclose(got.log_scale, wrt_log_scale, rtol=1e-9, atol=1e-9)
        wrt_factor = scale[:, None] * (2 * slope @ np.float64(normal.factor))
        got_factor = scale[:, None] * np.float64(got.factor)
        np.testing.assert_allclose(got_factor, wrt_factor, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "shapes", [((3,), (3,), (3,)), ((3,), (2,), (3, 1)), ((), (), (0, 1)), ((3,), (3,), (3, 0))]
)
def test_parameters_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match=r"expected loc \(d,\), .*use Normal"):
        LowRankNormal(*[jnp.zeros(shape) for shape in shapes])


@pytest.mark.usefixtures("without_type_checks")
def test_an_event_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"log_prob expected .*\(3,\), got \(1, 3\).*vmap"):
        some_normal().log_prob(jnp.zeros((1, 3)))
