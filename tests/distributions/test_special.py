import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import TOLERANCES, assert_near

from jaxvae.distributions.numerics.pair import exact_sum, exp_pair, log_pair, log_sum_exp
from jaxvae.distributions.numerics.special import (
    log_gamma_ratio,
    stirling_remainder,
    stirling_slope,
)

every_dtype = pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
ARGUMENTS = np.concatenate([10 ** np.linspace(-8, 8, 49), np.linspace(0.5, 4, 15)])
LOG_GAMMA = mpmath.loggamma


def remainder(x):
    return LOG_GAMMA(x) - (
        (x - mpmath.mpf(0.5)) * mpmath.log(x) - x + mpmath.log(2 * mpmath.pi) / 2
    )


def slope(x):
    return mpmath.psi(0, x) - mpmath.log(x) + 1 / (2 * x)


def second_slope(x):
    return mpmath.psi(1, x) - 1 / x - 1 / (2 * x * x)


def relative_errors(got, exact, *arguments):
    """Errors in units of a rounding, against functions of mpf numbers."""
    unit = float(jnp.finfo(got.dtype).eps)
    with mpmath.workdps(60):
        numbers = zip(*[map(mpmath.mpf, np.float64(a).tolist()) for a in arguments], strict=True)
        pairs = zip(np.float64(got).tolist(), numbers, strict=True)
        return np.array([float(abs(g / exact(*x) - 1)) for g, x in pairs]) / unit


@every_dtype
def test_the_remainder_of_stirlings_formula_and_its_slopes_are_exact_relative_to_themselves(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x = jnp.asarray(ARGUMENTS, dtype)
        assert np.max(relative_errors(jax.jit(stirling_remainder)(x), remainder, x)) < 15
        assert np.max(relative_errors(jax.jit(stirling_slope)(x), slope, x)) < 100
        # Two derivatives of a Chebyshev series lose digits at its end, x = 1.
        second = jax.jit(jax.vmap(jax.grad(stirling_slope)))(x)
        assert np.max(relative_errors(second, second_slope, x)) < 1e4


@every_dtype
@pytest.mark.parametrize("step", [0.5, 3.5, 50.0])
def test_the_ratio_of_gamma_functions_vanishes_for_large_arguments(dtype, step):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
        x = jnp.asarray(ARGUMENTS, dtype)
        numbers = [mpmath.mpf(float(v)) for v in np.asarray(x)]
        exact = [float(LOG_GAMMA(v + step) - LOG_GAMMA(v) - step * mpmath.log(v)) for v in numbers]
        assert_near(
            jax.jit(log_gamma_ratio, static_argnums=1)(x, step),
            exact,
            8 * step * float(jnp.finfo(dtype).eps) + 1e-15,
        )


def errors_of_pairs(pair, exact, *arguments):
    """Absolute errors in units of a rounding of one; compiled, as compilers like to simplify."""
    unit = float(jnp.finfo(pair[0].dtype).eps)
    with mpmath.workdps(60):
        numbers = zip(*[map(mpmath.mpf, np.float64(a).tolist()) for a in arguments], strict=True)
        sums = [mpmath.mpf(float(a)) + mpmath.mpf(float(b)) for a, b in zip(*pair, strict=True)]
        return max(float(abs(s - exact(*x))) for s, x in zip(sums, numbers, strict=True)) / unit


@every_dtype
def test_pairs_hold_more_digits_than_numbers(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        rng = np.random.default_rng(0)
        x = jnp.asarray(np.exp(rng.uniform(-20, 20, 500)), dtype)
        y = jnp.asarray(rng.uniform(-20, 0, 500), dtype)
        z = jnp.asarray(rng.uniform(-20, 0, 500), dtype)
        total = jax.jit(exact_sum)(x, y)
        assert errors_of_pairs(total, lambda x, y: x + y, x, y) == 0
        assert errors_of_pairs(jax.jit(log_pair)(x), mpmath.log, x) < 0.01
        tail = z * jnp.asarray(jnp.finfo(dtype).eps, dtype)
        power = jax.jit(exp_pair)((y, tail))
        assert errors_of_pairs(power, lambda y, t: mpmath.exp(y + t), y, tail) < 0.1
        combined = jax.jit(log_sum_exp)(jnp.stack([y, z, y], -1))

        def log_sum(y, z):
            return mpmath.log(2 * mpmath.exp(y) + mpmath.exp(z))

        assert errors_of_pairs(combined, log_sum, y, z) < 0.1


@every_dtype
def test_the_logarithm_of_a_pair_keeps_its_relative_digits_near_one(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x = jnp.asarray(1 + np.random.default_rng(1).uniform(-1e-3, 1e-3, 200), dtype)
        assert np.max(relative_errors(sum(jax.jit(log_pair)(x)), mpmath.log, x)) <= 1
