"""What every family is tested by: oracles in many digits, laws of samples, exact gradients.

A family's test states its parameters (ten settings or more), its log-density in mpmath, and the
closed forms of its moments; these functions do the rest. All settings are one stacked
distribution, so that a check compiles one program for each precision.
"""

from collections.abc import Callable, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from samplers import sampler, sampler_with_gradient
from scipy import stats

TOLERANCES = {jnp.float32: 1e-5, jnp.float64: 1e-11}
"""Of max(1, |exact value|)."""

GRADIENT_TOLERANCES = {jnp.float32: 2e-5, jnp.float64: 1e-10}
"""Of max(1, |exact derivative|); a derivative adds a rounding of its own to the density's."""

Settings = Sequence[tuple[float, ...]]


def stored(distribution) -> list[float]:
    """The parameters as the distribution holds them, so that the oracle errs in nothing else."""
    return [float(leaf) for leaf in jax.tree.leaves(distribution)]


def assert_near(got, exact, tolerance, what=""):
    """|got - exact| <= tolerance max(1, |exact|), infinities being equal."""
    got, exact = np.float64(got), np.float64(exact)
    with np.errstate(invalid="ignore"):
        error = np.where(got == exact, 0.0, np.abs(got - exact))
        allowed = tolerance * np.maximum(1.0, np.abs(exact))
    worst = np.argmax(np.where(np.isnan(error), np.inf, error / allowed))
    assert np.all(error <= allowed), (
        f"{what} {worst}: got {got.flat[worst]!r}, exact {exact.flat[worst]!r}"
    )


def stacked(make: Callable, settings: Settings, dtype):
    """The distributions of all settings as one pytree, and the parameters each of them holds.

    The oracles get the parameters as they are held, so that they differ in nothing else.
    """
    made = _of_all_settings(make)(*_columns(settings, dtype))
    held = np.stack([np.float64(leaf) for leaf in jax.tree.leaves(made)], axis=1)
    return made, held.tolist()


@cache
def _of_all_settings(make: Callable) -> Callable:
    return jax.jit(jax.vmap(make))


def _columns(settings: Settings, dtype, repeats: int = 1) -> tuple[jax.Array, ...]:
    """One array for each parameter, every setting ``repeats`` times in a row."""
    return tuple(
        jnp.asarray(np.repeat(np.asarray(column, np.float64), repeats), dtype)
        for column in zip(*settings, strict=True)
    )


def _points(values: Callable, held: list[list[float]], dtype) -> jax.Array:
    """The points of every setting as rows of one array, the last repeated where there are fewer."""
    rows = [[float(value) for value in values(*parameters)] for parameters in held]
    longest = max(map(len, rows))
    return jnp.asarray([row + row[-1:] * (longest - len(row)) for row in rows], dtype)


def check_log_prob(
    make: Callable,
    settings: Settings,
    values: Callable[..., Sequence[float]],
    log_density: Callable,
    digits: int = 60,
):
    """log_prob of scalar events against mpmath, in float32 and float64.

    Args:
        make: arrays of unconstrained parameters to the distribution.
        settings: the parameters.
        values: stored parameters to the points of evaluation, tails included.
        log_density: ``(value, *stored parameters)``, mpf numbers, to the logarithm in mpmath.
        digits: of mpmath.
    """
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(digits):
            made, held = stacked(make, settings, dtype)
            points = _points(values, held, dtype)
            log_prob = jax.vmap(lambda d, x: d.log_prob(x), (None, 0))
            got = np.asarray(jax.jit(jax.vmap(log_prob))(made, points))
            assert got.dtype == dtype
            for row, at, parameters in zip(got, np.float64(points), held, strict=True):
                where = [mpmath.mpf(p) for p in parameters]
                exact = [float(log_density(mpmath.mpf(x), *where)) for x in at]
                assert_near(row, exact, tolerance, f"{parameters} at {at}, point")


def check_log_prob_gradient(
    make: Callable,
    settings: Settings,
    values: Callable[..., Sequence[float]],
    log_density: Callable,
    unit: Callable = lambda *parameters: 1.0,
):
    """Gradients of log_prob of scalar events in the value and in every parameter.

    Args:
        make: arrays of unconstrained parameters to the distribution.
        settings: the parameters.
        values: stored parameters to the points, none of them where the density has a corner;
            outside of the support every derivative is to be zero.
        log_density: ``(value, *stored parameters)``, mpf numbers, to the logarithm in mpmath.
        unit: stored parameters to the scale of a value; derivatives in the value are multiplied
            by it before they are compared.
    """
    gradient = jax.vmap(jax.grad(lambda a, x: make(*a).log_prob(x), (0, 1)), (None, 0))
    for dtype, tolerance in GRADIENT_TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            _, held = stacked(make, settings, dtype)
            points = _points(values, held, dtype)
            by_parameter, by_value = jax.jit(jax.vmap(gradient))(_columns(settings, dtype), points)
            got = np.stack([*map(np.float64, by_parameter), np.float64(by_value)], axis=1)
            for rows, at, parameters in zip(got, np.float64(points), held, strict=True):
                exact = np.array([_derivatives(log_density, x, parameters) for x in at]).T
                scale = np.ones((len(rows), 1))
                scale[-1] = float(unit(*parameters))
                what = f"{parameters} at {at}, flat index"
                assert_near(scale * rows, scale * exact, tolerance, what)


def _derivatives(log_density: Callable, x: float, held: list[float]) -> list[float]:
    """Central differences of the log-density in every parameter and in the value."""
    where = [*map(mpmath.mpf, held), mpmath.mpf(x)]
    if not mpmath.isfinite(log_density(where[-1], *where[:-1])):
        return [0.0] * len(where)

    def along(index):
        def function(t):
            moved = [*where[:index], t, *where[index + 1 :]]
            return log_density(moved[-1], *moved[:-1])

        step = mpmath.mpf(10) ** -20 * max(1, abs(where[index]))
        if index == len(where) - 1:
            step = mpmath.mpf(10) ** -20 * abs(where[index]) or mpmath.mpf(10) ** -30
        at = where[index]
        return float((function(at + step) - function(at - step)) / (2 * step))

    return [along(index) for index in range(len(where))]


def check_closed_form(compute: Callable, make: Callable, settings: Settings, exact: Callable):
    """Any function of a distribution (mean, entropy, ...) against mpmath, in both precisions."""
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            made, held = stacked(make, settings, dtype)
            computed = np.float64(jax.jit(jax.vmap(compute))(made))
            for got, parameters in zip(computed, held, strict=True):
                value = float(exact(*map(mpmath.mpf, parameters)))
                # Relative to the value, for moments that are far from 1.
                if np.isfinite(value) and value != 0:
                    got, value = got / abs(value), np.sign(value)
                assert_near(got, value, tolerance, f"{parameters}")


def draws(make: Callable, settings: Settings, number: int = 100_000, seed: int = 0) -> np.ndarray:
    """Independent scalar draws, a row for each setting; a row is the coordinates of one event."""
    # One program, run for each setting: rejection in one loop would wait for the worst of them.
    sample = sampler(make, len(settings))
    rows = [
        sample(jax.random.key(seed), row, _columns([parameters], jnp.float32, number))
        for row, parameters in enumerate(settings)
    ]
    return np.stack([np.float64(row) for row in rows])


def check_kolmogorov_smirnov(
    make: Callable, settings: Settings, cdf: Callable, level: float = 1e-3, seed: int = 0
):
    """Samples against ``cdf(x, *stored parameters)``, a function of numpy arrays."""
    _, held = stacked(make, settings, jnp.float32)
    for sample, parameters in zip(draws(make, settings, seed=seed), held, strict=True):
        p = stats.kstest(sample, lambda x, parameters=parameters: cdf(x, *parameters)).pvalue
        assert p > level, f"{parameters}: p = {p}"


def check_chi_squared(
    make: Callable, settings: Settings, pmf: Callable, level: float = 1e-3, seed: int = 0
):
    """Samples of counts against ``pmf(k, *stored parameters)``; cells expect five or more."""
    _, held = stacked(make, settings, jnp.float32)
    for row, parameters in zip(draws(make, settings, seed=seed), held, strict=True):
        sample = row.astype(np.int64)
        low, high = sample.min(), sample.max()
        counts = np.bincount(sample - low)
        expected = len(sample) * np.asarray(pmf(np.arange(low, high + 1), *parameters))
        # Neighbouring cells are joined until each expects five or more; the rest joins the last.
        cells, edges = [], np.cumsum(expected)
        start, done = 0, 0.0
        for end in range(len(expected)):
            if edges[end] - done >= 5:
                cells.append((counts[start : end + 1].sum(), edges[end] - done))
                start, done = end + 1, edges[end]
        observed, wanted = map(np.array, zip(*cells, strict=True))
        observed[-1] += counts[start:].sum()
        wanted[-1] += len(sample) - done  # both tails beyond the observed range as well
        if len(observed) == 1:
            continue
        p = stats.chisquare(observed, wanted).pvalue
        assert p > level, f"{parameters}: p = {p}"


def check_pathwise_gradient(
    make: Callable,
    settings: Settings,
    expectation: Callable,
    function: Callable = lambda x: x,
    number: int = 100_000,
    seed: int = 0,
):
    """Gradients of E[f(x)] by samples within four standard errors of the closed form's.

    Draws by rejection (everything made of Gamma variables) jump in the concentration for a fixed
    key, so finite differences with common random numbers are no oracle there; this average is.

    Args:
        make: arrays of parameters to the distribution.
        settings: the parameters.
        expectation: the same arguments, to E[f(x)], differentiable by JAX.
        function: f, elementwise.
        number: of samples.
        seed: of the samples.
    """
    sample = sampler_with_gradient(make)
    slope = jax.jit(jax.vmap(jax.grad(function)))
    with jax.enable_x64(True):
        held = tuple(jnp.asarray(c, jnp.float64) for c in _columns(settings, jnp.float32))
        exact = np.float64(jax.jit(jax.vmap(jax.grad(lambda a: expectation(*a))))(held)).T
    for parameters, exact_slopes in zip(settings, exact, strict=True):
        keys = jax.random.split(jax.random.key(seed), number)
        x, gradients = sample(tuple(map(jnp.float32, parameters)), keys)
        gradients = np.float64(slope(x)) * np.float64(gradients)
        for which, (g, e) in enumerate(zip(gradients, exact_slopes, strict=True)):
            standard_error = np.std(g) / np.sqrt(number) + 1e-6 * max(1.0, abs(e))
            assert abs(np.mean(g) - e) <= 4 * standard_error, (
                f"{parameters}, parameter {which}: {np.mean(g)} +- {standard_error}, exact {e}"
            )
