"""Polynomials fitted to noisy points: the Bath report, sections 3.4 to 3.6.

The basis is that of Legendre, orthonormal under U[0, 1]. The polynomials of a degree are the same
functions in every basis, but in powers of x the Hessian of degree 10 has a condition number above
1e13, and gradient descent would not converge.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from numpy.polynomial import legendre

from jaxvae import plotting
from jaxvae.distributions import Normal


@dataclass(frozen=True)
class Regression:
    """Figures 3, 4 and 5: polynomials fitted to noisy points of functions on [0, 1]."""

    points: int = 100
    """Number of points to fit in figures 4 and 5."""
    test_points: int = 1000
    """Number of other points, for the error out of sample."""
    noise: float = 1.0
    """Standard deviation of the noise."""
    degrees: tuple[int, ...] = (1, 3, 10)
    """Degrees of the polynomials in figure 5."""
    data_sets: int = 200
    """Number of data sets over which figures 3 and 4 average."""
    sizes: tuple[int, ...] = (15, 20, 30, 50, 100, 200, 500, 1000)
    """Numbers of points in figure 3."""
    size_degree: int = 3
    """Degree of the polynomial in figure 3."""
    largest_degree: int = 12
    """Largest degree in figure 4."""


TRUTHS = {"line": lambda x: 2 * x, "curve": lambda x: 2 * x - 10 * x**5 + 15 * x**10}
"""The true functions of figure 5."""


class Points(NamedTuple):
    """Noisy points of all functions, possibly with a leading axis of data sets.

    Attributes:
        x: places, uniform on [0, 1], (number,).
        features: values of the basis at x, (number, basis).
        y: noisy values of the functions, (number, functions).
    """

    x: np.ndarray
    features: np.ndarray
    y: np.ndarray


class Errors(NamedTuple):
    """Mean squared errors of a fit in sample and out of sample, one for each function."""

    inside: np.ndarray
    outside: np.ndarray


def basis(x: np.ndarray, degree: int) -> np.ndarray:
    r"""$\sqrt{2k + 1} P_k(2x - 1)$ for k up to the degree, along a last axis."""
    return legendre.legvander(2 * x - 1, degree) * np.sqrt(2 * np.arange(degree + 1) + 1)


def draw(
    keys: Array, points: int, test_points: int, noise: float, degree: int
) -> tuple[Points, Points]:
    """A training set and a test set for each key, drawn at once."""
    number = points + test_points

    def one(key):
        where, what = jax.random.split(key)
        x = jax.random.uniform(where, (number,))
        mean = jnp.stack([truth(x) for truth in TRUTHS.values()], axis=-1)
        return x, Normal(mean, jnp.full_like(mean, np.log(noise))).sample(what)

    x, y = map(np.asarray, jax.jit(jax.vmap(one))(keys))
    both = Points(x, basis(x, degree).astype(x.dtype), y)
    return Points(*(a[:, :points] for a in both)), Points(*(a[:, points:] for a in both))


@jax.jit
def least_squares(train: Points, size: int | Array, degree: int | Array) -> Array:
    """The coefficients (data sets, basis, functions) that fit the first ``size`` points.

    Coefficients above the degree are 0. Size and degree are traced, so that all share one compiled
    program: rows of zeros change no fit, and the solution of smallest norm is 0 along columns of
    zeros.
    """

    def one(features, y):
        rows = (jnp.arange(features.shape[0]) < size)[:, None]
        used = rows & (jnp.arange(features.shape[1]) <= degree)[None]
        return jnp.linalg.lstsq(jnp.where(used, features, 0.0), jnp.where(rows, y, 0.0))[0]

    return jax.vmap(one)(train.features, train.y)


def predict(coefficients: Any, features: Any) -> Any:
    """Values (number, functions) of the fitted polynomials, with any leading axes."""
    return features[..., : coefficients.shape[-2]] @ coefficients


def fit(train: Points, test: Points, size: int, degree: int) -> tuple[np.ndarray, Errors]:
    """Fit the first ``size`` points of each data set; errors (data sets, functions)."""
    coefficients = np.asarray(least_squares(train, size, degree))
    inside = train.y[:, :size] - predict(coefficients, train.features[:, :size])
    outside = test.y - predict(coefficients, test.features)
    return coefficients, Errors(np.mean(inside**2, axis=1), np.mean(outside**2, axis=1))


def smallest_error(truth, degree: int, noise: float) -> float:
    r"""$\sigma^2 + \min_p \int_0^1 (f - p)^2$: the error with infinitely many points."""
    # Gauss' rule with 32 nodes integrates the square of either function exactly.
    nodes, weights = legendre.leggauss(32)
    x, weights = (nodes + 1) / 2, weights / 2
    features = basis(x, degree)
    residual = truth(x) - features @ (features.T @ (weights * truth(x)))
    return float(noise**2 + weights @ residual**2)


def sweep(options: Regression, key: Array) -> tuple[list[Errors], list[Errors]]:
    """Errors of the second function for all numbers of points, and for all degrees."""
    number = max(options.points, *options.sizes)
    last = max(options.largest_degree, options.size_degree)
    keys = jax.random.split(key, options.data_sets)
    train, test = draw(keys, number, options.test_points, options.noise, last)

    def fitted(size: int, degree: int) -> Errors:
        found = fit(train, test, size, degree)[1]
        return Errors(found.inside[:, 1], found.outside[:, 1])

    by_size = [fitted(size, options.size_degree) for size in options.sizes]
    by_degree = [fitted(options.points, d) for d in range(options.largest_degree + 1)]
    return by_size, by_degree


def metrics(
    options: Regression, train: Points, test: Points, params: dict[str, Array]
) -> dict[str, Any]:
    """Errors of least squares, and its distance from the curves of stochastic gradient ascent."""
    report: dict[str, Any] = {}
    for degree in options.degrees:
        exact, measured = fit(train, test, options.points, degree)
        found = np.asarray(params[f"degree_{degree}"])
        difference = predict(exact, test.features) - predict(found, test.features)
        distance = np.sqrt(np.mean(difference**2, axis=1))
        for number, name in enumerate(TRUTHS):
            label = f"{name}_degree_{degree}"
            report[f"{label}_in_sample_error"] = measured.inside[:, number]
            report[f"{label}_out_of_sample_error"] = measured.outside[:, number]
            report[f"{label}_rms_gradient_ascent_to_least_squares"] = distance[:, number]
    return report


def sweep_metrics(
    options: Regression, by_size: list[Errors], by_degree: list[Errors]
) -> dict[str, Any]:
    """Mean errors over the data sets."""
    report: dict[str, Any] = {"data_sets": options.data_sets}
    settings = [
        *((f"{size}_points", found) for size, found in zip(options.sizes, by_size, strict=True)),
        *((f"degree_{degree}", found) for degree, found in enumerate(by_degree)),
    ]
    for name, found in settings:
        report[f"mean_in_sample_error_{name}"] = float(np.mean(found.inside))
        report[f"mean_out_of_sample_error_{name}"] = float(np.mean(found.outside))
    limit = smallest_error(TRUTHS["curve"], options.size_degree, options.noise)
    report["error_with_infinitely_many_points"] = limit
    return report


def pictures(options: Regression, train: Points, test: Points) -> dict[str, Figure]:
    """Figure 5, for the first seed: the fits by least squares, with their errors."""
    grid = np.linspace(0, 1, 201)
    features = basis(grid, max(options.degrees))
    fits: list[dict[str, np.ndarray]] = [{} for _ in TRUTHS]
    for degree in options.degrees:
        exact, measured = fit(train, test, options.points, degree)
        for number, curves in enumerate(fits):
            inside, outside = (float(e[0, number]) for e in measured)
            label = f"degree {degree}: $E_{{in}}$ {inside:.2f}, $E_{{out}}$ {outside:.2f}"
            curves[label] = predict(exact[0], features)[:, number]
    truths = [truth(grid) for truth in TRUTHS.values()]
    titles = ("$f(x) = 2x$", "$f(x) = 2x - 10x^5 + 15x^{10}$")
    figure = plotting.fitted_curves((train.x[0], train.y[0].T), grid, truths, fits, titles)
    return {"figure_5": figure}


def sweep_pictures(
    options: Regression, by_size: list[Errors], by_degree: list[Errors]
) -> dict[str, Figure]:
    """Figures 3 and 4, from measured errors."""
    degrees = list(range(len(by_degree)))
    spread = f"mean and 10% to 90% of {options.data_sets} data sets"

    def curves(against, found: list[Errors], used, **words) -> Figure:
        inside, outside = (np.stack(values) for values in zip(*found, strict=True))
        limit = [smallest_error(TRUTHS["curve"], degree, options.noise) for degree in used]
        return plotting.error_curves(against, inside, outside, limit=limit, **words)

    return {
        "figure_3": curves(
            list(options.sizes),
            by_size,
            [options.size_degree] * len(by_size),
            label="number of points",
            title=f"Degree {options.size_degree}: {spread}",
            logarithmic=True,
        ),
        "figure_4": curves(
            degrees,
            by_degree,
            degrees,
            label="degree",
            title=f"{options.points} points: {spread}",
        ),
    }
