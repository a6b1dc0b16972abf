"""What every family is tested by: oracles in many digits, laws of samples, exact gradients.

A family's test states its parameters (ten settings or more), its log-density in mpmath, and the
closed forms of its moments; these functions do the rest.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from scipy import stats

TOLERANCES = {jnp.float32: 1e-5, jnp.float64: 1e-11}
"""Of max(1, |exact value|)."""


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


def check_log_prob(
    make: Callable,
    settings: Sequence[tuple[float, ...]],
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
            log_prob = jax.jit(jax.vmap(lambda d, x: d.log_prob(x), (None, 0)))
            for parameters in settings:
                distribution = make(*[jnp.asarray(p, dtype) for p in parameters])
                held = stored(distribution)
                points = jnp.asarray(values(*held), dtype)
                got = log_prob(distribution, points)
                assert got.dtype == dtype
                exact = [
                    float(log_density(mpmath.mpf(float(x)), *map(mpmath.mpf, held))) for x in points
                ]
                assert_near(got, exact, tolerance, f"{parameters} at {points}, point")


def check_closed_form(
    compute: Callable, make: Callable, settings: Sequence[tuple[float, ...]], exact: Callable
):
    """Any function of a distribution (mean, entropy, ...) against mpmath, in both precisions."""
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            for parameters in settings:
                distribution = make(*[jnp.asarray(p, dtype) for p in parameters])
                value = float(exact(*map(mpmath.mpf, stored(distribution))))
                # Relative to the value, for moments that are far from 1.
                got = np.float64(compute(distribution))
                if np.isfinite(value) and value != 0:
                    got, value = got / abs(value), np.sign(value)
                assert_near(got, value, tolerance, f"{parameters}")


def draws(make: Callable, parameters: Sequence[float], number: int = 100_000, seed: int = 0):
    """Independent scalar draws, as coordinates of one event; float64 numpy."""
    arrays = [jnp.full((number,), p, jnp.float32) for p in parameters]
    return np.float64(jax.jit(lambda k, a: make(*a).sample(k))(jax.random.key(seed), arrays))


def check_kolmogorov_smirnov(
    make: Callable, settings: Sequence[tuple[float, ...]], cdf: Callable, level: float = 1e-3
):
    """Samples against ``cdf(x, *stored parameters)``, a function of numpy arrays."""
    for seed, parameters in enumerate(settings):
        held = stored(make(*[jnp.float32(p) for p in parameters]))
        sample = draws(make, parameters, seed=seed)
        p = stats.kstest(sample, lambda x, held=held: cdf(x, *held)).pvalue
        assert p > level, f"{parameters}: p = {p}"


def check_chi_squared(
    make: Callable, settings: Sequence[tuple[float, ...]], pmf: Callable, level: float = 1e-3
):
    """Samples of counts against ``pmf(k, *stored parameters)``; cells expect five or more."""
    for seed, parameters in enumerate(settings):
        held = stored(make(*[jnp.float32(p) for p in parameters]))
        sample = draws(make, parameters, seed=seed).astype(np.int64)
        low, high = sample.min(), sample.max()
        counts = np.bincount(sample - low)
        expected = len(sample) * np.asarray(pmf(np.arange(low, high + 1), *held))
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
    settings: Sequence[tuple[float, ...]],
    expectation: Callable,
    function: Callable = lambda x: x,
    number: int = 100_000,
    seed: int = 0,
):
    """Gradients of E[f(x)] by samples within four standard errors of the closed form's.

    Args:
        make: arrays of parameters to the distribution.
        settings: the parameters.
        expectation: the same arguments, to E[f(x)], differentiable by JAX.
        function: f, elementwise.
        number: of samples.
        seed: of the samples.
    """

    def one(parameters, key):
        return function(make(*parameters).sample(key))

    gradients = jax.jit(jax.vmap(jax.grad(one), (None, 0)))
    for parameters in settings:
        arrays = tuple(jnp.float32(p) for p in parameters)
        keys = jax.random.split(jax.random.key(seed), number)
        with jax.enable_x64(True):
            exact = jax.grad(lambda a: expectation(*a))(tuple(jnp.float64(p) for p in arrays))
        for which, (g, e) in enumerate(zip(gradients(arrays, keys), exact, strict=True)):
            g, e = np.float64(g), float(e)
            standard_error = np.std(g) / np.sqrt(number) + 1e-6 * max(1.0, abs(e))
            assert abs(np.mean(g) - e) <= 4 * standard_error, (
                f"{parameters}, parameter {which}: {np.mean(g)} +- {standard_error}, exact {e}"
            )
