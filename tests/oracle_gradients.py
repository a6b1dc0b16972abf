"""Gradients of log-densities against derivatives in mpmath."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from oracles import assert_near, stored

TOLERANCES = {jnp.float32: 2e-5, jnp.float64: 1e-10}
"""Of max(1, |exact derivative|); a derivative adds a rounding of its own to the density's."""


def check_log_prob_gradient(
    make: Callable,
    settings: Sequence[tuple[float, ...]],
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
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            compute = jax.jit(
                jax.vmap(jax.grad(lambda a, x: make(*a).log_prob(x), (0, 1)), (None, 0))
            )
            for parameters in settings:
                arrays = tuple(jnp.asarray(p, dtype) for p in parameters)
                held = stored(make(*arrays))
                points = jnp.asarray(values(*held), dtype)
                by_parameter, by_value = compute(arrays, points)
                got = np.stack([*map(np.float64, by_parameter), np.float64(by_value)])
                exact = np.array([_exact(log_density, x, held) for x in points]).T
                size = float(unit(*held))
                got[-1], exact[-1] = got[-1] * size, exact[-1] * size
                assert_near(got, exact, tolerance, f"{parameters} at {points}, flat index")


def _exact(log_density: Callable, x, held: list[float]) -> list[float]:
    where = [*map(mpmath.mpf, held), mpmath.mpf(float(x))]
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
