"""What every family is tested by: oracles in many digits, tests of samples, exact gradients.

A family's test states its parameters (ten settings or more), its log-density in mpmath, and the
closed forms of its moments; these functions do the rest. Settings and points are the rows and
columns of tables of a fixed size, so that the checks of a family share one program for each
precision.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from samplers import RUN_ONCE, sampler, sampler_with_slopes
from scipy import stats

TOLERANCES = {jnp.float32: 1e-5, jnp.float64: 1e-11}
"""Of max(1, |exact value|)."""

GRADIENT_TOLERANCES = {jnp.float32: 2e-5, jnp.float64: 1e-10}
"""Of max(1, |exact derivative|); a derivative adds a rounding of its own to the density's."""

SUM_ROUNDING = 4e-6
"""Of float32, in sums of some six terms of at most five nats each, which may cancel."""

STATISTICS = ("mean", "variance", "mode", "entropy")
ROWS, POINTS = 12, 16
"""Settings and points of one table; more of them take several, and fewer are filled up."""

Settings = Sequence[tuple[float, ...]]

every_size = pytest.mark.parametrize(
    "number", [20_000, pytest.param(100_000, marks=pytest.mark.exhaustive)]
)
"""Of samples; those of an ordinary run are few, to be quick."""


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


def assert_alike(first, second):
    """The same numbers, which two programs may have rounded differently."""
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), first, second)


@partial(jax.jit, static_argnums=(0, 1))
def evaluate(make: Callable, name: str, parameters: tuple, *arguments):
    """A property of ``make(*parameters)``, or what its method gives, in one compiled program.

    Operation by operation each would be a program, which takes longer to compile than to run.
    """
    found = getattr(make(*parameters), name)
    return found(*arguments) if callable(found) else found


@partial(jax.jit, static_argnums=(0, 1))
def evaluate_each(make: Callable, name: str, parameters: tuple, points):
    """``evaluate`` at every point of the first axis, for one distribution of scalar events."""
    return jax.vmap(lambda x: getattr(make(*parameters), name)(x))(points)


def _filled(rows: Sequence, multiple: int) -> list:
    """The rows, the last repeated until their number is a multiple."""
    return [*rows, *[rows[-1]] * (-len(rows) % multiple)]


def columns(settings: Settings, dtype, repeats: int = 1) -> tuple[np.ndarray, ...]:
    """One array for each parameter, every setting ``repeats`` times in a row."""
    return tuple(
        np.repeat(np.asarray(column, dtype), repeats) for column in zip(*settings, strict=True)
    )


def _held(settings: Settings, dtype) -> list[list[float]]:
    """The parameters of each setting as they are held in a precision."""
    return np.stack(columns(settings, dtype), axis=1).astype(np.float64).tolist()


def _points(values: Callable, held: list[list[float]], dtype) -> list[np.ndarray]:
    return [np.asarray([float(x) for x in values(*parameters)], dtype) for parameters in held]


def tabulate(
    function: Callable, settings: Settings, points: Sequence[np.ndarray], dtype
) -> list[tuple[np.ndarray, ...]]:
    """A compiled ``(columns, grid)`` at each setting's own points, of one dtype.

    Args:
        function: to one array or several, whose first axes are settings and points.
        settings: the parameters.
        points: those of each setting.
        dtype: the precision; float64 where it is enabled.

    Returns:
        For each setting its rows of each array, in float64.
    """
    width = POINTS * -(-max(map(len, points)) // POINTS)
    rows = columns(_filled(settings, ROWS), dtype)
    grid = np.asarray(_filled([_filled(list(row), width) for row in points], ROWS), dtype)

    def block(start, left):
        ours = slice(start, start + ROWS), slice(left, left + POINTS)
        found = jax.device_get(function(tuple(row[ours[0]] for row in rows), grid[ours]))
        return found if isinstance(found, tuple) else (found,)

    bands = [
        [np.concatenate(parts, axis=1) for parts in zip(*band, strict=True)]
        for band in (
            [block(start, left) for left in range(0, width, POINTS)]
            for start in range(0, len(grid), ROWS)
        )
    ]
    arrays = [np.concatenate(parts) for parts in zip(*bands, strict=True)]
    assert all(array.dtype == dtype for array in arrays)
    return [
        tuple(np.float64(array[row, : len(at)]) for array in arrays)
        for row, at in enumerate(points)
    ]


@cache
def log_prob_and_scores(make: Callable) -> Callable:
    """``(columns, grid)`` to log-densities and their slopes in each parameter and in the value."""

    def one(parameters, x):
        value, slopes = jax.value_and_grad(lambda p, x: make(*p).log_prob(x), (0, 1))(parameters, x)
        return value, *slopes[0], slopes[1]

    return jax.jit(jax.vmap(jax.vmap(one, (None, 0))))


@cache
def cdf_of(make: Callable) -> Callable:
    """``(columns, grid)`` to the distribution function."""
    one = jax.vmap(lambda parameters, x: make(*parameters).cdf(x), (None, 0))
    return jax.jit(jax.vmap(one))


def check_log_prob(
    make: Callable,
    settings: Settings,
    values: Callable[..., Sequence[float]],
    log_density: Callable,
    digits: int = 60,
):
    """log_prob of scalar events against mpmath, in float32 and float64.

    Args:
        make: arrays of unconstrained parameters to the distribution that holds them.
        settings: the parameters.
        values: stored parameters to the points of evaluation, tails included.
        log_density: ``(value, *stored parameters)``, mpf numbers, to the logarithm in mpmath.
        digits: of mpmath.
    """
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(digits):
            held = _held(settings, dtype)
            points = _points(values, held, dtype)
            table = tabulate(log_prob_and_scores(make), settings, points, dtype)
            for (got, *_), at, parameters in zip(table, points, held, strict=True):
                where = [mpmath.mpf(p) for p in parameters]
                exact = [float(log_density(mpmath.mpf(float(x)), *where)) for x in at]
                assert_near(got, exact, tolerance, f"{parameters} at {at}, point")


def check_log_prob_gradient(
    make: Callable,
    settings: Settings,
    values: Callable[..., Sequence[float]],
    log_density: Callable,
    unit: Callable = lambda *parameters: 1.0,
):
    """Gradients of log_prob of scalar events in the value and in every parameter.

    Args:
        make: arrays of unconstrained parameters to the distribution that holds them.
        settings: the parameters.
        values: stored parameters to the points, none of them where the density has a corner;
            outside of the support every derivative is to be zero.
        log_density: ``(value, *stored parameters)``, mpf numbers, to the logarithm in mpmath.
        unit: stored parameters to the scale of a value; derivatives in the value are multiplied
            by it before they are compared.
    """
    for dtype, tolerance in GRADIENT_TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            held = _held(settings, dtype)
            points = _points(values, held, dtype)
            table = tabulate(log_prob_and_scores(make), settings, points, dtype)
            for (_, *got), at, parameters in zip(table, points, held, strict=True):
                exact = np.array([_derivatives(log_density, float(x), parameters) for x in at]).T
                scale = np.ones((len(got), 1))
                scale[-1] = float(unit(*parameters))
                what = f"{parameters} at {at}, flat index"
                assert_near(scale * got, scale * exact, tolerance, what)


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


@cache
def _statistics(make: Callable) -> Callable:
    """Columns to every moment and entropy that the family has in closed form."""

    def all_of(*parameters):
        distribution, found = make(*parameters), {}
        for name in STATISTICS:
            try:
                found[name] = getattr(distribution, name)
                found[name] = found[name]() if name == "entropy" else found[name]
            except (AttributeError, ValueError):
                found.pop(name, None)
        return found

    return jax.jit(jax.vmap(all_of))


@cache
def _computed(make: Callable, settings: tuple, dtype) -> dict[str, np.ndarray]:
    rows = columns(_filled(settings, ROWS), dtype)
    blocks = [
        jax.device_get(_statistics(make)(*[row[start : start + ROWS] for row in rows]))
        for start in range(0, len(rows[0]), ROWS)
    ]
    return {
        name: np.float64(np.concatenate([block[name] for block in blocks]))[: len(settings)]
        for name in blocks[0]
    }


def check_closed_form(
    statistic: str, make: Callable, settings: Settings, exact: Callable, relative: bool = True
):
    """One of ``STATISTICS`` against mpmath in both precisions, relative to its size if asked."""
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            held = _held(settings, dtype)
            computed = _computed(make, tuple(settings), dtype)[statistic]
            for got, parameters in zip(computed, held, strict=True):
                value = float(exact(*map(mpmath.mpf, parameters)))
                if relative and np.isfinite(value) and value != 0:
                    got, value = got / abs(value), np.sign(value)
                assert_near(got, value, tolerance, f"{statistic} at {parameters}")


def draws(make: Callable, settings: Settings, number: int = 20_000, seed: int = 0) -> np.ndarray:
    """Independent scalar draws, a row for each setting; a row is the coordinates of one event."""
    # The program that the gradients of samples are checked by.
    events = _events(sampler_with_slopes(make), settings, number, seed)
    return np.stack([np.float64(sample) for sample, *_ in events])


def counts_drawn(make: Callable, settings: Settings, number: int, seed: int = 0) -> list:
    """The same of a distribution of counts, whose samples have no derivatives."""
    return _events(sampler(make), settings, number, seed)


def _events(sample: Callable, settings: Settings, number: int, seed: int) -> list:
    # One program, run for each setting: rejection in one loop would wait for the worst of them.
    return [
        jax.device_get(
            sample(columns([parameters], np.float32, number), jax.random.key(1000 * seed + row))
        )
        for row, parameters in enumerate(settings)
    ]


def check_kolmogorov_smirnov(
    make: Callable,
    settings: Settings,
    cdf: Callable,
    number: int = 20_000,
    level: float = 1e-3,
    seed: int = 0,
):
    """Samples against ``cdf(x, *stored parameters)``, a function of numpy arrays."""
    held = _held(settings, np.float32)
    for sample, parameters in zip(draws(make, settings, number, seed), held, strict=True):
        p = stats.kstest(sample, lambda x, at=parameters: cdf(x, *at)).pvalue
        assert p > level, f"{parameters}: p = {p}"


def check_chi_squared(
    make: Callable,
    settings: Settings,
    pmf: Callable,
    number: int = 20_000,
    level: float = 1e-3,
    seed: int = 0,
):
    """Samples of counts against ``pmf(k, *stored parameters)``; cells expect five or more."""
    held = _held(settings, np.float32)
    for row, parameters in zip(counts_drawn(make, settings, number, seed), held, strict=True):
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
    number: int = 20_000,
    seed: int = 0,
):
    """Gradients of E[f(x)] by samples within four standard errors of the closed form's.

    Draws by rejection (everything made of Gamma variables) jump in the concentration for a fixed
    key, so finite differences with common random numbers are no oracle there; this average is.

    Args:
        make: arrays of parameters to the distribution.
        settings: the parameters.
        expectation: the same arguments, to E[f(x)], differentiable by JAX.
        function: f, elementwise, of NumPy.
        number: of samples.
        seed: of the samples.
    """
    gradient = jax.vmap(jax.grad(lambda a: expectation(*a)))
    with jax.enable_x64(True):
        held = tuple(np.float64(column) for column in columns(settings, np.float32))
        exact = np.float64(jax.jit(gradient, compiler_options=RUN_ONCE)(held)).T
    events = _events(sampler_with_slopes(make), settings, number, seed)
    for (x, *slopes), exact_slopes, parameters in zip(events, exact, settings, strict=True):
        x = np.float64(x)
        step = 1e-6 * np.abs(x)
        outer = (function(x + step) - function(x - step)) / (2 * step)
        for which, (slope, e) in enumerate(zip(slopes, exact_slopes, strict=True)):
            g = outer * np.float64(slope)
            standard_error = np.std(g) / np.sqrt(number) + 1e-6 * max(1.0, abs(e))
            assert abs(np.mean(g) - e) <= 4 * standard_error, (
                f"{parameters}, parameter {which}: {np.mean(g)} +- {standard_error}, exact {e}"
            )
