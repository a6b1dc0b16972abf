"""A bound whose gradient and the variances of its estimators are known in closed form.

This is the example of the Heidelberg lecture's SGVB slides, with p(z) = N(0, I),
p(x | z) = N(z, I) and q(z) = N(mu, sigma^2 I) in d dimensions, whose coordinates are all alike.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxvae import Example, LatentVariableModel, Params, objectives
from jaxvae.distributions import Normal

SAMPLED = partial(objectives.elbo, kl=objectives.monte_carlo)
ESTIMATORS = {
    "pathwise": partial(SAMPLED, gradient=objectives.pathwise),
    "sticking_the_landing": partial(SAMPLED, gradient=objectives.sticking_the_landing),
    "score": partial(SAMPLED, gradient=objectives.score_function),
    "score_leave_one_out": partial(
        SAMPLED, gradient=objectives.score_function, baseline=objectives.leave_one_out
    ),
}
DRAWS_BY_DIMENSION = 10
_AT_ONCE = 2**21


@dataclass(frozen=True)
class Gaussian:
    """The lecture's example, p(x | z) = N(z, I) and q(z) = N(0, sigma^2 I)."""

    observed: float = 1.0
    """Every coordinate of x, which is also the gradient of the bound by a coordinate of mu."""
    posterior_scale: float = 0.6
    """sigma, which is 0.71 for the exact posterior."""
    dimension: int = 10
    """Number of latent dimensions where the number of samples varies."""
    draws: tuple[int, ...] = (1, 10, 100, 1000)
    """Numbers of samples L in an estimate."""
    dimensions: tuple[int, ...] = (1, 10, 100)
    """Numbers of latent dimensions, with ten samples in an estimate."""
    repeats: int = 2048
    """Largest number of estimates with which a variance is measured."""
    budget: int = 256_000
    """Largest number of samples in all of these estimates together."""


class Measured(NamedTuple):
    """Estimates of the gradient by mu, with L samples in d dimensions.

    Attributes:
        variance: about the exact gradient, averaged over coordinates.
        error: standard error of that variance.
        mean: of the estimates, over repeats and coordinates.
        theory: the variance in closed form.
        estimates: of the gradient by the first coordinate, (repeats,).
    """

    variance: float
    error: float
    mean: float
    theory: float
    estimates: np.ndarray


def model(dimension: int, scale: float) -> LatentVariableModel:
    """The model; its inference parameters are mu."""
    return LatentVariableModel(
        init=lambda key: Params(None, jnp.zeros(dimension)),
        prior=lambda params, context: Normal.standard((dimension,)),
        likelihood=lambda params, z, context: Normal(z, jnp.zeros_like(z)),
        posterior=lambda params, x, context: Normal(
            params.inference, jnp.full_like(params.inference, np.log(scale))
        ),
    )


def exact_gradient(options: Gaussian) -> float:
    """The gradient of the bound at mu = 0 by a coordinate of mu."""
    return options.observed


def variance(options: Gaussian, name: str, number: int, dimension: int) -> float:
    r"""The variance of a coordinate of the estimated gradient by $\mu$, in closed form.

    The exact posterior is $N(m, s^2 I)$ with $m = x/2$ and $s^2 = 1/2$. With $a = \mu - m$ and
    $z = \mu + \sigma\varepsilon$ the term of the bound of one sample is

    $$f = F + \sum_j\left(A(\varepsilon_j^2 - 1) + B\varepsilon_j\right),\quad
    A = \tfrac12\left(1 - \frac{\sigma^2}{s^2}\right),\quad B = -\frac{a\sigma}{s^2}$$

    with the bound $F = \log p(x) + d(\log(\sigma/s) - a^2/(2 s^2) + A)$ and the gradient
    $B/\sigma = -a/s^2$. By the moments of a Normal the estimators have the variances

    - pathwise $-(a + \sigma\varepsilon_i)/s^2$: $\sigma^2/s^4$;
    - sticking the landing, which adds $\varepsilon_i/\sigma$: $(1/\sigma - \sigma/s^2)^2$;
    - score $f\varepsilon_i/\sigma$: $(F^2 + 4AF + 10A^2 + 2B^2 + (d - 1)(2A^2 + B^2))/\sigma^2$;

    each divided by L. Leaving one out gives the sample covariance of f and $\varepsilon_i/\sigma$,
    whose variance is $\mu_{22}/L - \mu_{11}^2(L - 2)/(L(L - 1)) + \mu_{20}\mu_{02}/(L(L - 1))$
    with the central moments of the pair. The score's variance grows as $d^2$, that of leaving one
    out as d, and the pathwise ones do not grow.

    Args:
        options: of the example.
        name: of the estimator.
        number: L, at least 2 for ``score_leave_one_out``.
        dimension: d.
    """
    sigma, square, a = options.posterior_scale, 0.5, -options.observed / 2
    if name == "pathwise":
        return sigma**2 / square**2 / number
    if name == "sticking_the_landing":
        return (1 / sigma - sigma / square) ** 2 / number
    A, B = 0.5 * (1 - sigma**2 / square), -a * sigma / square
    log_evidence = -0.5 * (np.log(4 * np.pi) + options.observed**2 / 2)
    per_dimension = log_evidence + np.log(sigma / square**0.5) - a**2 / (2 * square) + A
    F, of_f = dimension * per_dimension, 2 * A**2 + B**2
    crossed = (10 * A**2 + 3 * B**2 + (dimension - 1) * of_f) / sigma**2
    covariance = B / sigma
    if name == "score":
        return (crossed + (F**2 + 4 * A * F) / sigma**2 - covariance**2) / number
    pairs = number * (number - 1)
    product = dimension * of_f / sigma**2
    return crossed / number + (product - covariance**2 * (number - 2)) / pairs


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def estimates(options: Gaussian, name: str, number: int, dimension: int, key: Array) -> Array:
    """Independent estimates of the gradient by mu, (repeats, dimension)."""
    example_model = model(dimension, options.posterior_scale)
    x = jnp.full(dimension, options.observed)

    def one(key):
        def surrogate(mu):
            estimate = ESTIMATORS[name](
                example_model, Params(None, mu), Example(x, x), key=key, num_samples=number
            )
            return estimate.surrogate

        return jax.grad(surrogate)(jnp.zeros(dimension))

    keys = jax.random.split(key, min(options.repeats, options.budget // number))
    # A divisor, as the last, partial batch would need a second compilation.
    together = math.gcd(len(keys), 2 ** max(0, int(np.log2(_AT_ONCE // (number * dimension)))))
    return lax.map(jax.vmap(one), keys.reshape(-1, together)).reshape(-1, dimension)


def measure(options: Gaussian, name: str, number: int, dimension: int, key: Array) -> Measured:
    """Mean and variance of an estimator."""
    found = np.asarray(estimates(options, name, number, dimension, key), float)
    squares = np.mean((found - exact_gradient(options)) ** 2, axis=1)
    return Measured(
        variance=squares.mean(),
        error=squares.std() / np.sqrt(len(squares)),
        mean=found.mean(),
        theory=variance(options, name, number, dimension),
        estimates=found[:, 0],
    )


def sweep(options: Gaussian, key: Array) -> tuple[dict[str, dict[int, Measured]], ...]:
    """All estimators for all numbers of samples, and for all dimensions."""
    by_draws, by_dimension = jax.random.split(key)

    def against(key: Array, pairs: Iterable[tuple[int, int, int]]):
        keys = jax.random.split(key, len(ESTIMATORS))
        return {
            name: {
                shown: measure(options, name, number, d, jax.random.fold_in(each, shown))
                for shown, number, d in pairs
                if number > 1 or name != "score_leave_one_out"
            }
            for name, each in zip(ESTIMATORS, keys, strict=True)
        }

    return (
        against(by_draws, [(number, number, options.dimension) for number in options.draws]),
        against(by_dimension, [(d, DRAWS_BY_DIMENSION, d) for d in options.dimensions]),
    )


def slope(found: dict[int, Measured]) -> float:
    """Slope of log variance against the logarithm of the number that varies."""
    measured = [each.variance for each in found.values()]
    return float(np.polyfit(np.log(list(found)), np.log(measured), 1)[0])


def metrics(
    options: Gaussian, by_draws: dict[str, dict[int, Measured]], by_dimension: dict[str, Any]
) -> dict[str, Any]:
    """Gradients in nats per unit of mu, and their variances with the fewest samples."""
    report: dict[str, Any] = {
        "lecture_dimension": options.dimension,
        "lecture_gradient_exact": exact_gradient(options),
    }
    for name, found in by_draws.items():
        number, first = next(iter(found.items()))
        report |= {
            f"lecture_draws_{name}": number,
            f"lecture_gradient_{name}": first.mean,
            f"lecture_variance_{name}": first.variance,
            f"lecture_variance_{name}_theory": first.theory,
            f"lecture_slope_in_draws_{name}": slope(found),
            f"lecture_slope_in_dimension_{name}": slope(by_dimension[name]),
        }
    pairs = {"": (by_draws, options.draws[0])}
    pairs |= {f"_in_{d}_dimensions": (by_dimension, d) for d in options.dimensions}
    for words, (found, at) in pairs.items():
        pathwise, score = found["pathwise"][at], found["score"][at]
        ratio = f"lecture_variance_ratio_score_to_pathwise{words}"
        report[ratio] = score.variance / pathwise.variance
        report[f"{ratio}_theory"] = score.theory / pathwise.theory
    return report
