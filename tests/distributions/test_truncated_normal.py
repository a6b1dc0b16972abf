import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from oracles import (
    TOLERANCES,
    assert_near,
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_log_prob_gradient,
    check_pathwise_gradient,
    every_size,
)
from scipy import special

from jaxvae.distributions import Normal, StandardUniform, TruncatedNormal, Uniform

INF = np.inf
SETTINGS = [
    (0.0, 0.0, -1.0, 1.0),
    (0.0, 0.0, -INF, INF),
    (0.3, -2.0, 0.0, INF),
    (2.0, 1.0, -INF, -3.0),
    (-1e4, 0.0, 0.0, INF),
    (1e4, 0.0, -1e-4, 0.0),
    (-30.0, 1.0, 0.0, 0.5),
    (0.1, 20.0, -1.0, 2.0),
    (5.0, -5.0, -INF, 5.05),
    (0.25, 0.0, 0.25, 0.25 + 2.0**-10),
    (-1.0, 0.5, -1.001, 60.0),
    (3.0, -3.0, -1.0, 4.0),
]
# Samples of these are few floats next to a bound that is far from zero.
COARSE = [(0.0, 0.0, 1e4, INF), (0.0, -9.0, -INF, -1.0), (2.0, -4.0, -180.0, -179.0)]


def standard(loc, log_scale, low, high):
    scale = mpmath.exp(log_scale)
    return scale, (low - loc) / scale, (high - loc) / scale


def partition(alpha, beta):
    """Of the standard Normal density between two bounds, in enough digits for the far tails."""
    with mpmath.workdps(80):
        if alpha < 0 < beta:
            return mpmath.ncdf(beta) - mpmath.ncdf(alpha)
        near, far = min(abs(alpha), abs(beta)), max(abs(alpha), abs(beta))
        root = mpmath.sqrt(2)
        return (mpmath.erfc(near / root) - mpmath.erfc(far / root)) / 2


def log_density(x, loc, log_scale, low, high):
    if not low <= x <= high:
        return -mpmath.inf
    scale, alpha, beta = standard(loc, log_scale, low, high)
    log_phi = -(((x - loc) / scale) ** 2) / 2 - mpmath.log(2 * mpmath.pi) / 2
    return log_phi - log_scale - mpmath.log(partition(alpha, beta))


def moments(loc, log_scale, low, high):
    """Mean, variance and entropy by the closed forms, in enough digits for what they cancel."""
    with mpmath.workdps(80):
        scale, alpha, beta = standard(loc, log_scale, low, high)
        z = partition(alpha, beta)
        ends = [(0, 0) if mpmath.isinf(t) else (mpmath.npdf(t) / z, t) for t in (alpha, beta)]
        first = ends[0][0] - ends[1][0]
        second = 1 + ends[0][0] * ends[0][1] - ends[1][0] * ends[1][1]
        entropy = log_scale + mpmath.log(z * mpmath.sqrt(2 * mpmath.pi)) + second / 2
        return loc + scale * first, scale**2 * (second - first**2), entropy


def interior(loc, log_scale, low, high):
    """Points from one bound to the other, as many standard deviations out as there is mass."""
    scale = np.exp(log_scale)
    anchor = np.clip(loc, low, high)
    far = np.abs(anchor - loc) / scale
    unit = scale / (1.0 + far)
    near = [anchor + unit * t for t in (-50.0, -5.0, -0.9, -1e-3, 1e-3, 0.4, 2.0, 9.0, 100.0)]
    ends = [low + t * (high - low) for t in (0.01, 0.5, 0.99)] if np.isfinite(high - low) else []
    points = [x for x in near + ends if low < x < high]
    return [*points, low - 1.0, high + 1.0] if np.isfinite(high - low) else points


def values(loc, log_scale, low, high):
    bounds = [x for x in (low, high) if np.isfinite(x)]
    return interior(loc, log_scale, low, high) + bounds


def test_log_prob_is_exact_in_both_tails_and_minus_infinity_outside():
    check_log_prob(TruncatedNormal, SETTINGS + COARSE, values, log_density, digits=80)


def test_gradients_of_log_prob_are_exact_in_value_parameters_and_bounds():
    finite = [(a, b, max(c, -90.0), min(d, 90.0)) for a, b, c, d in SETTINGS]
    check_log_prob_gradient(
        TruncatedNormal, finite, interior, log_density, lambda *p: np.exp(min(p[1], 0.0))
    )


def test_moments_and_entropy_are_their_closed_forms():
    for which, name in enumerate(("mean", "variance", "entropy")):
        settings = SETTINGS + COARSE
        check_closed_form(name, TruncatedNormal, settings, lambda *p, i=which: moments(*p)[i])


def log_probability(x, loc, log_scale, low, high):
    """Below x."""
    scale, alpha, beta = standard(loc, log_scale, low, high)
    return mpmath.log(partition(alpha, (x - loc) / scale)) - mpmath.log(partition(alpha, beta))


def inverse(u, start, *parameters):
    """The distribution function's, by Newton's steps from an approximate solution."""
    x, u = mpmath.mpf(start), mpmath.mpf(u)
    for _ in range(6):
        x -= (mpmath.exp(log_probability(x, *parameters)) - u) / mpmath.exp(
            log_density(x, *parameters)
        )
    return x


def derivative(function, point, index, step):
    def moved(by):
        return function(*point[:index], point[index] + by, *point[index + 1 :])

    return (moved(step) - moved(-step)) / (2 * step)


def samples_and_gradients(dtype, noise):
    """Of all settings, with the distribution function and the parameters as they are held."""

    def one(parameters, u):
        x, slopes = jax.value_and_grad(lambda p, v: TruncatedNormal(*p).transform(v), (0, 1))(
            parameters, u
        )
        return x, jnp.stack([*slopes[0], slopes[1]]), TruncatedNormal(*parameters).cdf(x)

    columns = tuple(jnp.asarray(c, dtype) for c in zip(*SETTINGS, strict=True))
    found = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(columns, noise)
    return np.stack(columns, axis=1).astype(np.float64), *map(np.float64, found)


def unit_of(loc, log_scale, low, high):
    """The spread, to a factor: of the exponential far out, of the interval where it is narrow."""
    scale = np.exp(log_scale)
    return min(scale / (1 + abs(np.clip(loc, low, high) - loc) / scale), high - low)


def exact_slopes(u, start, held):
    """The quantile, and its derivatives in all parameters by those of the cdf."""
    at, unit, tiny = [mpmath.mpf(p) for p in held], unit_of(*held), mpmath.mpf(10) ** -30
    # From inside: the logarithm of no probability has no slope.
    for bound, side in ((held[2], 1), (held[3], -1)):
        start = start + side * 1e-9 * unit if start == bound else start
    x = inverse(u, start, *at)
    density = mpmath.exp(log_density(x, *at))

    def along(index):
        if mpmath.isinf(at[index]):
            return 0.0
        step = tiny * (1 if index == 1 else unit)
        slope = derivative(lambda *p: mpmath.exp(log_probability(*p)), [x, *at], index + 1, step)
        return float(-slope / density)

    return x, np.array([*map(along, range(4)), float(1 / density)])


def test_the_transformation_inverts_the_cdf_exactly_with_exact_gradients():
    for dtype, tolerance in TOLERANCES.items():
        rounding = float(jnp.finfo(dtype).eps)
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(90):
            noise = jnp.asarray([rounding / 2, 1e-3, 0.3, 0.5, 0.8, 1 - rounding / 2], dtype)
            for held, *rows in zip(*samples_and_gradients(dtype, noise), strict=True):
                unit, scale = unit_of(*held), np.exp(held[1])
                # A float next to a bound or a mode that is far from zero is itself as far off.
                coarse = 2 * rounding * max(abs(np.clip(*held[[0, 2, 3]])), np.max(np.abs(rows[0])))
                for u, x, slopes, cdf in zip(np.asarray(noise, float), *rows, strict=True):
                    exact, wanted = exact_slopes(u, x, held)
                    assert abs(float(exact - mpmath.mpf(x))) <= tolerance * unit + coarse
                    assert abs(cdf - u) <= tolerance + coarse * abs(1 / wanted[-1])
                    sizes = np.array([(unit / scale) ** 2, unit, 1.0, 1.0, unit])
                    error = np.abs(slopes - wanted) / (sizes + np.abs(wanted))
                    assert np.all(error <= tolerance), (held, u, error)


@every_size
def test_samples_pass_kolmogorov_smirnov(number):
    def cdf(x, loc, log_scale, low, high):
        # The tail that is farther from the centre, in logarithms, is exact in both.
        scale = np.exp(log_scale)
        alpha, beta, z = ((t - loc) / scale for t in (low, high, x))
        if alpha > 0:
            alpha, beta, z = -beta, -alpha, -z
        top, bottom = special.log_ndtr(beta), special.log_ndtr(alpha)
        below = (np.exp(special.log_ndtr(z) - top) - np.exp(bottom - top)) / -np.expm1(bottom - top)
        return below if loc >= low else 1.0 - below

    # A narrow interval far from zero has too few floats for the test.
    settings = [s for s in SETTINGS if s[2] != 0.25 and s[1] < 20.0]
    more = [(-4.0, 0.0, 0.0, INF), (0.0, 1.0, -0.5, 8.0)]
    check_kolmogorov_smirnov(TruncatedNormal, settings + more, cdf, number=number)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    def expectation(loc, log_scale, low, high):
        distribution = TruncatedNormal(loc, log_scale, low, high)
        return distribution.variance + distribution.mean**2

    settings = [(0.0, 0.0, -1.0, 1.0), (-3.0, 0.5, 0.0, 2.0), (0.5, -1.0, -0.5, 4.0)]
    check_pathwise_gradient(TruncatedNormal, settings, expectation, lambda x: x * x, number=number)


def test_gradients_of_moments_and_entropy_are_those_of_the_closed_forms():
    def stacked(parameters):
        distribution = TruncatedNormal(*parameters)
        return jnp.stack([distribution.mean, distribution.variance, distribution.entropy()])

    settings = [s for s in SETTINGS if np.all(np.isfinite(s)) and s[0] > -1e4 and s[1] < 20]
    with jax.enable_x64(True), mpmath.workdps(80):
        columns = tuple(jnp.asarray(c, jnp.float64) for c in zip(*settings, strict=True))
        rows = np.stack(jax.jit(jax.vmap(jax.jacrev(stacked)))(columns), axis=2)
        for held, got in zip(settings, rows, strict=True):
            at, unit = [mpmath.mpf(p) for p in held], unit_of(*held)
            step = mpmath.mpf(10) ** -20
            for which, size in enumerate((unit, unit**2, 1.0)):
                for index in range(4):
                    by = 1.0 if index == 1 else unit
                    exact = derivative(lambda *p, i=which: moments(*p)[i], at, index, step * by)
                    assert_near(got[which, index] * by / size, float(exact * by / size), 1e-10)


@jax.jit
@jax.vmap
def described(parameters, at, u):
    """The distribution's mean, variance, entropy, density and cdf at a point, and a quantile."""
    distribution = TruncatedNormal(*parameters)
    points = distribution.log_prob(at), distribution.cdf(at), distribution.transform(u)
    return distribution.mean, distribution.variance, distribution.entropy(), *points


@jax.jit
@jax.vmap
def described_free(loc, log_scale, at, u):
    distribution = Normal(loc, log_scale)
    points = (
        distribution.log_prob(at),
        distribution.cdf(at),
        distribution.transform(distribution.noise.from_uniform(u)),
    )
    return distribution.mean, distribution.variance, distribution.entropy(), *points


@jax.jit
@jax.vmap
def described_even(low, high, at, u):
    distribution = Uniform.from_bounds(low, high)
    points = distribution.log_prob(at), distribution.cdf(at), distribution.transform(u)
    return distribution.mean, distribution.variance, distribution.entropy(), *points


def test_without_bounds_it_is_the_normal_and_within_few_deviations_the_uniform():
    x, u = jnp.linspace(-3.0, 5.0, 9), StandardUniform((9,)).sample(jax.random.key(0))
    loc, log_scale = jnp.full(9, 0.5), jnp.full(9, 0.3)
    got = described((loc, log_scale, x - INF, x + INF), x, u)
    for ours, normal in zip(got, described_free(loc, log_scale, x, u), strict=True):
        np.testing.assert_allclose(ours, normal, rtol=2e-6, atol=1e-6)
    got = described((loc, jnp.full(9, 12.0), x, x + 2.0), x + 0.7, u)
    for ours, uniform in zip(got, described_even(x, x + 2.0, x + 0.7, u), strict=True):
        np.testing.assert_allclose(ours, uniform, rtol=2e-6, atol=2e-6)


def test_its_mirror_image_is_the_distribution_of_mirrored_samples():
    loc, log_scale, low, high = (jnp.float32(column) for column in zip(*SETTINGS, strict=True))
    for u in (2.0**-20, 0.125, 0.75):
        u = jnp.full_like(loc, u)
        mean, variance, entropy, _, _, x = described((loc, log_scale, low, high), loc, u)
        assert np.all((low <= x) & (x <= high))
        image = described((-loc, log_scale, -high, -low), -x, 1 - u)
        np.testing.assert_allclose(image[0], -mean, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(image[1:3], (variance, entropy), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(image[5], -x, rtol=2e-6, atol=1e-7)


def test_rounding_carries_no_event_out_of_its_support():
    loc, low, log_width, log_scale = 3.0 * jax.random.normal(jax.random.key(0), (4, 10_000))
    high = low + jnp.exp(log_width)
    distribution = TruncatedNormal(loc, log_scale, low, high)
    for u in (2.0**-24, 1 - 2.0**-24):
        x = distribution.transform(jnp.full(10_000, u, jnp.float32))
        assert np.all((low <= x) & (x <= high))


def test_bounds_out_of_order_give_nan_everywhere():
    low, high = jnp.float32([1.0, 2.0, np.nan]), jnp.float32([1.0, -1.0, 1.0])
    parameters, at = (jnp.zeros(3), jnp.zeros(3), low, high), jnp.ones(3)
    assert np.all(np.isnan(described(parameters, at, 0.5 * at)))
    assert np.all(np.isnan(TruncatedNormal(*parameters).mode))
