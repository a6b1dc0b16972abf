import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxvae.distributions import MultivariateNormal
from jaxvae.laplace import laplace


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def sound(found):
    return bool(jnp.all(found.converged) & jnp.all(found.negative_definite))


def gaussian(seed, d, scale):
    """A positive definite matrix whose coordinates have units ``scale`` apart, and a mode."""
    draw = np.random.default_rng(seed).normal
    units = np.logspace(0, np.log10(scale), d)
    square = draw(size=(d, d)) + 2.0 * np.eye(d)
    return (square @ square.T) / np.outer(units, units), draw(size=d) * units, draw(size=d)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("d", "scale"), [(1, 1e-6), (2, 1e3), (9, 1e-3)])
def test_a_gaussian_integrand_is_integrated_to_rounding(d, scale, dtype):
    precision, mode, start = gaussian(d, d, scale)
    with jax.enable_x64(dtype == "float64"):
        matrix, centre = jnp.asarray(precision, dtype), jnp.asarray(mode, dtype)
        found = jax.jit(
            lambda start: laplace(lambda z: 3.0 - 0.5 * (z - centre) @ matrix @ (z - centre), start)
        )(jnp.asarray(start, dtype))
        held, centre = np.float64(matrix), np.float64(centre)
        held = 0.5 * (held + held.T)
        exact = 3.0 + 0.5 * d * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(held)[1]
        # What solving with the matrix costs: its condition, at most 100 in its own units.
        tolerance = {"float32": 1e-4, "float64": 1e-12}[dtype]
        assert found.log_integral.dtype == dtype
        assert sound(found)
        np.testing.assert_allclose(found.log_integral, exact, rtol=tolerance, atol=tolerance)
        spread = np.sqrt(np.diag(np.linalg.inv(held)))
        np.testing.assert_allclose((found.mode - centre) / spread, 0.0, atol=10 * tolerance)
        np.testing.assert_allclose(
            found.posterior.covariance / np.outer(spread, spread),
            np.linalg.inv(held) / np.outer(spread, spread),
            atol=10 * tolerance,
        )
        np.testing.assert_array_equal(found.posterior.mean, found.mode)


@jax.jit
def factorial(n, start):
    return laplace(lambda t: n * jnp.log(t) - t, start)


def test_a_factorial_becomes_stirlings_formula_from_wherever_the_search_starts(float64):
    number, afar = np.meshgrid([1.0, 3.0, 10.0, 100.0, 1000.0, 10_000.0], [0.01, 0.7, 40.0])
    n = number.ravel()
    found = jax.jit(jax.vmap(factorial))(jnp.asarray(n), jnp.asarray(n * afar.ravel()))
    assert sound(found)
    np.testing.assert_allclose(found.mode, n, rtol=1e-10)
    formula = 0.5 * np.log(2 * np.pi * n) + n * np.log(n) - n
    np.testing.assert_allclose(found.log_integral, formula, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(np.exp(found.posterior.log_diagonal[:, 0]), np.sqrt(n), rtol=1e-10)
    with mpmath.workdps(40):
        exact = [mpmath.loggamma(k + 1) for k in n]
        relative = [
            float(-mpmath.expm1(mpmath.mpf(float(value)) - e))
            for value, e in zip(found.log_integral, exact, strict=True)
        ]
    # N! = sqrt(2 pi N)(N/e)^N (1 + 1/(12 N) + 1/(288 N^2) + ...), and N log N is rounded.
    rounding = 12 * n * np.abs(np.float64(exact)) * 4e-16
    scaled = 12 * n * np.array(relative)
    assert np.all(np.abs(scaled - (1 - 1 / (24 * n))) < 0.04 / n**2 + rounding)


def test_derivatives_pass_through_the_mode(float64):
    n = jnp.array([2.0, 10.0, 300.0])

    def both(n):
        found = factorial(n, 7.0)
        return jnp.stack([found.log_integral, found.mode])

    derivative = jax.jit(jax.vmap(jax.jacrev(both)))(n)
    np.testing.assert_allclose(derivative[:, 0], np.log(n) + 0.5 / n, rtol=1e-9)
    np.testing.assert_allclose(derivative[:, 1], 1.0, rtol=1e-9)


def coupled(tilt, z):
    """Log-concave, neither quadratic nor separable."""
    matrix = jnp.array([[1.0, -2.0], [0.5, 1.0], [1.5, 0.3]])
    return -jnp.sum(jax.nn.softplus(matrix @ z)) + jnp.sum(z) * tilt - 0.1 * jnp.sum(z**2)


def test_derivatives_agree_with_finite_differences_where_the_mode_moves_in_two_dimensions(float64):
    def value(tilt):
        return laplace(lambda z: coupled(tilt, z), jnp.zeros(2)).log_integral

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(value)))(
        jnp.array([0.3 - 1e-5, 0.3, 0.3 + 1e-5])
    )
    np.testing.assert_allclose(gradients[1], (values[2] - values[0]) / 2e-5, rtol=1e-7)


def test_another_coordinate_system_changes_the_integral_by_its_volume_alone(float64):
    start = jnp.array([2.0, -3.0])
    plain = laplace(lambda z: coupled(0.4, z), start)
    scale, shift = jnp.array([[1e4, 5e-4], [0.0, 1e-3]]), jnp.array([5.0, -7.0])
    moved = jax.jit(lambda y: laplace(lambda y: coupled(0.4, scale @ y + shift), y))(
        jnp.linalg.solve(scale, start - shift)
    )
    assert sound(plain)
    assert sound(moved)
    np.testing.assert_allclose(moved.log_integral, plain.log_integral - np.log(10.0), rtol=1e-11)
    np.testing.assert_allclose(scale @ moved.mode + shift, plain.mode, rtol=1e-8)
    np.testing.assert_allclose(
        scale @ moved.posterior.covariance @ scale.T, plain.posterior.covariance, rtol=1e-7
    )


def test_a_tree_is_its_flat_vector(float64):
    flat = laplace(lambda z: coupled(0.4, z), jnp.zeros(2))
    tree = {"a": jnp.zeros(()), "b": (jnp.zeros((1, 1)),)}
    found = laplace(lambda z: coupled(0.4, ravel_pytree(z)[0]), tree)
    assert jax.tree.structure(found.mode) == jax.tree.structure(tree)
    np.testing.assert_allclose(ravel_pytree(found.mode)[0], flat.mode, rtol=1e-12)
    np.testing.assert_allclose(found.log_integral, flat.log_integral, rtol=1e-12)


def test_the_error_falls_as_the_reciprocal_of_the_number_of_observations(float64):
    points, weights = np.polynomial.legendre.leggauss(400)
    points, weights = 6 * points, 6 * weights

    def f(z, n):
        return n * (2.0 * z - 3.0 * jax.nn.softplus(z)) - 0.5 * z**2

    def error(n):
        values = f(jnp.asarray(points), n)
        peak = float(jnp.max(values))
        exact = peak + np.log(np.sum(weights * np.exp(values - peak)))
        return exact - float(approximate(n))

    approximate = jax.jit(lambda n: laplace(lambda z: f(z, n), jnp.array(0.0)).log_integral)
    errors = np.array([error(n) for n in (20.0, 40.0, 80.0, 160.0)])
    assert 1e-3 < abs(errors[0]) < 0.1
    ratios = errors[:-1] / errors[1:]
    np.testing.assert_allclose(ratios, 2.0, rtol=0.2)
    # The ratio is 2 - O(1/n) itself.
    np.testing.assert_allclose(2 - ratios[-1], (2 - ratios[-2]) / 2, rtol=0.2)


UNSOUND = {
    "a saddle": lambda z: z[0] ** 2 - z[1] ** 2,
    "a minimum": lambda z: jnp.sum(z**2),
    "level in one direction": lambda z: -(z[0] ** 2) + 0.0 * z[1],
    "a slope without end": lambda z: z[0] - z[1] ** 2,
    "not a number": lambda z: jnp.sum(jnp.log(z - 5.0)),
}


def test_what_has_no_laplace_approximation_is_flagged_and_nan():
    functions = list(UNSOUND.values())
    found = jax.jit(
        jax.vmap(
            lambda which: laplace(lambda z: jax.lax.switch(which, functions, z), jnp.full(2, 0.5))
        )
    )(jnp.arange(len(functions)))
    for name, flags in zip(UNSOUND, found.converged & found.negative_definite, strict=True):
        assert not flags, name
    assert np.all(np.isnan(found.log_integral))
    assert np.all(np.isnan(found.posterior.loc))


def test_too_few_steps_are_flagged_with_the_distance_that_is_left(float64):
    def banana(z):
        return -0.5 * (1.0 - z[0]) ** 2 - 50.0 * (z[1] - z[0] ** 2) ** 2

    start = jnp.array([-4.0, 10.0])
    early, late = (
        jax.jit(lambda start, steps=steps: laplace(banana, start, max_steps=steps))(start)
        for steps in (3, 256)
    )
    assert not early.converged
    assert early.negative_definite
    assert early.distance > 1e-3
    assert np.isnan(early.log_integral)
    assert sound(late)
    np.testing.assert_allclose(late.mode, 1.0, rtol=1e-7)


def test_where_the_search_comes_to_nothing_no_curvature_is_reported():
    found = laplace(lambda z: -0.5 * jnp.sum(z**2), jnp.full(2, jnp.nan))
    assert not found.converged
    assert not found.negative_definite
    assert np.isnan(found.log_integral)


@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.99])
def test_the_distance_is_in_standard_deviations_of_the_correlated_posterior(float64, correlation):
    # A quartic is left half way by one Newton step at a time: z shrinks by 2/3.
    covariance = np.array([[4.0, 6.0 * correlation], [6.0 * correlation, 9.0]])
    precision = jnp.asarray(np.linalg.inv(covariance))

    def f(z):
        return -((z @ precision @ z) ** 2)

    start = jnp.array([2.0, -3.0])
    found = laplace(f, start, max_steps=1)
    gradient, hessian = jax.grad(f)(found.mode), jax.hessian(f)(found.mode)
    expected = np.sqrt(gradient @ np.linalg.solve(-hessian, gradient))
    assert expected > 0.01
    np.testing.assert_allclose(found.distance, expected, rtol=1e-9)


def test_units_do_not_matter_to_the_search(float64):
    units = jnp.array([1e-3, 1.0, 1e3])
    matrix = jnp.array([[1.0, -2.0, 0.3], [0.5, 1.0, -1.0], [1.5, 0.3, 0.4], [-0.2, 0.1, 1.1]])

    def f(z):
        return -jnp.sum(jax.nn.softplus(matrix @ z)) + 0.4 * jnp.sum(z) - 0.1 * jnp.sum(z**2)

    start, steps = jnp.array([3.0, -4.0, 5.0]), 20
    plain = laplace(f, start, max_steps=steps)
    moved = laplace(lambda y: f(y / units), units * start, max_steps=steps)
    assert sound(plain)
    assert sound(moved)
    np.testing.assert_allclose(moved.mode / units, plain.mode, rtol=1e-3, atol=1e-4)
    difference = moved.log_integral - plain.log_integral
    np.testing.assert_allclose(difference, np.sum(np.log(np.float64(units))), atol=1e-4)


def test_one_failure_among_many_leaves_the_others_as_they_are():
    found = jax.jit(jax.vmap(lambda sign: laplace(lambda z: sign * jnp.sum(z**2), jnp.ones(2))))(
        jnp.array([-0.5, 1.0, -2.0])
    )
    assert found.negative_definite.tolist() == [True, False, True]
    np.testing.assert_allclose(
        found.log_integral, [np.log(2 * np.pi), np.nan, np.log(np.pi / 2)], rtol=1e-6
    )
    assert isinstance(found.posterior, MultivariateNormal)


@pytest.mark.usefixtures("without_type_checks")
def test_misuse_is_refused():
    with pytest.raises(ValueError, match=r"start expected floating-point arrays, .* got int32"):
        laplace(lambda z: jnp.sum(z), jnp.arange(3))
    with pytest.raises(ValueError, match=r"expected to return a scalar, got shape \(3,\)"):
        laplace(lambda z: -(z**2), jnp.zeros(3))
    with pytest.raises(ValueError, match="max_steps expected a positive integer, got 0"):
        laplace(lambda z: -jnp.sum(z**2), jnp.zeros(3), max_steps=0)
