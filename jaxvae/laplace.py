"""Laplace's method: an integral from the mode of its integrand and the curvature there."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optimistix
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular
from jaxtyping import Bool, Float

from jaxvae import _check
from jaxvae._types import PyTree, Scalar
from jaxvae.distributions import MultivariateNormal

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_NEWTON_STEPS = 3


class LaplaceApproximation(NamedTuple):
    r"""What the mode $z^*$ of an integrand $e^{f(z)}$ and its curvature say of the integral.

    Where one of the two flags is False, ``log_integral`` and ``posterior`` are NaN.

    Attributes:
        mode: $z^*$, in the structure of the start.
        log_integral: $f(z^*) + \frac d2\log 2\pi - \frac12\log\det(-H)$, nats.
        posterior: $N(z^*, (-H)^{-1})$ of the flat latent, in the order of ``ravel_pytree``.
        distance: estimated distance from the mode in standard deviations of the posterior,
            $\sqrt{g^\top(-H)^{-1}g}$ with the gradient g.
        converged: whether that distance is rounding. If not, give more ``max_steps``, a start
            nearer to the mode, or float64.
        negative_definite: whether H is. If not, the point is a saddle, a minimum or on a ridge:
            give another start, or an integrand that does not stay level in any direction.
    """

    mode: PyTree
    log_integral: Scalar
    posterior: MultivariateNormal
    distance: Scalar
    converged: Bool[Array, ""]
    negative_definite: Bool[Array, ""]


def laplace(
    log_density: Callable[[Any], Scalar],
    start: PyTree,
    *,
    solver: Any = None,
    max_steps: int = 256,
) -> LaplaceApproximation:
    r"""$\log\int e^{f(z)}\,dz \approx f(z^*) + \frac d2\log 2\pi - \frac12\log\det(-H)$.

    The solver works in coordinates in which the curvature at the start is one, so that units do
    not matter to it, and Newton steps take the mode to rounding. It is exact for a Gaussian
    integrand. ``jax.vmap`` and ``jax.grad`` with respect to what f depends on both work, the
    latter through the mode; a failure of one of many is flagged and does not stop the others.

    Args:
        log_density: f, of a pytree of floating-point arrays, to nats.
        start: where the search begins; f must be finite there.
        solver: a minimiser of ``optimistix``; BFGS by default.
        max_steps: of the solver.

    Raises:
        ValueError: if the start is not of floating-point numbers, f is not a scalar, or
            ``max_steps`` is not positive.

    Reference: exercise 12, task 1.

    Example:
        Stirling's formula, from $N! = \int_0^\infty e^{N\log t - t}\,dt$ with N = 10:

        >>> import jax.numpy as jnp
        >>> from jaxvae.laplace import laplace
        >>> found = laplace(lambda t: 10 * jnp.log(t) - t, jnp.array(8.0))
        >>> round(float(found.mode), 3), round(float(jnp.exp(found.log_integral)), -3)
        (10.0, 3599000.0)
    """
    _check.positive("max_steps", max_steps)
    _check_start(log_density, start)
    flat, unravel = ravel_pytree(start)

    def f(z):
        return log_density(unravel(z))

    tolerance = float(jnp.finfo(flat.dtype).eps) ** 0.5
    if solver is None:
        solver = optimistix.BFGS(rtol=tolerance, atol=tolerance)
    mode = lax.fori_loop(
        0, _NEWTON_STEPS, lambda _, z: _newton(f, z), _search(f, flat, solver, max_steps)
    )
    factor = _covariance_factor(f, mode)
    distance = jnp.linalg.norm(factor.T @ jax.grad(f)(mode))
    # A quadratic integrand has its curvature even where the search came to nothing.
    negative_definite = jnp.all(jnp.isfinite(factor)) & jnp.all(jnp.isfinite(mode))
    converged = distance <= 10.0 * tolerance
    log_integral = f(mode) + len(mode) * _HALF_LOG_TWO_PI + jnp.sum(jnp.log(jnp.diagonal(factor)))
    sound = converged & negative_definite
    log_integral, centre, factor = jax.tree.map(
        lambda leaf: jnp.where(sound, leaf, jnp.nan), (log_integral, mode, factor)
    )
    return LaplaceApproximation(
        mode=unravel(mode),
        log_integral=log_integral,
        posterior=MultivariateNormal.from_cholesky(centre, factor),
        distance=distance,
        converged=converged,
        negative_definite=negative_definite,
    )


def _search(f: Callable[[Array], Array], start: Array, solver: Any, max_steps: int) -> Array:
    """The solver's mode. Newton steps follow, so derivatives need not pass through it."""
    values, vectors = jnp.linalg.eigh(jax.hessian(f)(start))
    sizes = jnp.abs(values)
    largest = jnp.max(sizes)
    level = jnp.where(largest > 0.0, jnp.finfo(start.dtype).eps * largest, 1.0)
    scale = lax.stop_gradient(vectors / jnp.sqrt(jnp.maximum(sizes, level))[None, :])
    start = lax.stop_gradient(start)
    solution = optimistix.minimise(
        lambda y, _: -f(start + scale @ y),
        solver,
        jnp.zeros_like(start),
        max_steps=max_steps,
        throw=False,
    )
    return lax.stop_gradient(start + scale @ solution.value)


def _newton(f: Callable[[Array], Array], z: Array) -> Array:
    """One Newton step, where the integrand is curved so that there is one."""
    factor = _covariance_factor(f, z)
    step = factor @ (factor.T @ jax.grad(f)(z))
    return z + jnp.where(jnp.all(jnp.isfinite(step)), step, 0.0)


def _covariance_factor(f: Callable[[Array], Array], z: Float[Array, " d"]) -> Float[Array, "d d"]:
    r"""Lower-triangular C with $CC^\top = (-H)^{-1}$; NaN if H is not negative definite.

    From $-H = UU^\top$ with an upper triangle U, and $C = U^{-\top}$: nothing is squared.
    """
    reversed_factor = jnp.linalg.cholesky(-jax.hessian(f)(z)[::-1, ::-1])
    upper = reversed_factor[::-1, ::-1]
    return solve_triangular(upper, jnp.eye(len(z), dtype=z.dtype), trans="T", lower=False)


def _check_start(log_density: Callable[[Any], Any], start: PyTree) -> None:
    dtypes = [jnp.asarray(leaf).dtype for leaf in jax.tree.leaves(start)]
    if not dtypes or not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        raise ValueError(
            "start expected floating-point arrays, as discrete values have no curvature, "
            f"got {', '.join(map(str, dtypes)) or 'none'}; pass floats, or sum over the values"
        )
    shape = jnp.shape(jax.eval_shape(log_density, start))
    if shape != ():
        raise ValueError(
            f"log_density expected to return a scalar, got shape {shape}; sum over the event"
        )
