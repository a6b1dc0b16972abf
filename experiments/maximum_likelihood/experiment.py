"""Maximum likelihood, gradient descent and overfitting: the Bath report, chapters 2 and 3.

A Normal is fitted to 1,000 samples (figure 1). Its negative log-likelihood is a quadratic function,
on which gradient descent has four regimes (figure 2). Polynomials of degree 1, 3 and 10 are fitted
to 100 noisy points by stochastic gradient ascent and by least squares (figure 5), and errors in and
out of sample are measured (figures 3 and 4, which are schematic in the report):

    python -m experiments.maximum_likelihood

N(0.5, 0.1) is taken to have a standard deviation of 0.1, as the curves of figure 1 are 0.1 apart.
With a variance of 0.1 (--scale 0.316) they would be a third of a standard deviation apart and hard
to tell from one another. Errors are means over the points and not sums as in the report, so that
they can be compared between numbers of points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxvae
from experiments.maximum_likelihood import ascent, polynomials
from experiments.maximum_likelihood.ascent import Sampling
from experiments.maximum_likelihood.polynomials import Regression
from experiments.shared.options import Running, check_running
from experiments.shared.runs import data_keys, header, open_run, seed_keys
from jaxvae import training
from jaxvae.distributions import Normal


@dataclass(frozen=True)
class Training:
    """Stochastic gradient ascent of the polynomials, with a cosine decay of the learning rate."""

    epochs: int = 400
    """Passes over the points."""
    batch_size: int = 25
    """Points in a step, as in section 3.5."""
    learning_rate: float = 0.05
    """Learning rate at the beginning."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    sampling: Sampling = field(default_factory=Sampling)
    regression: Regression = field(default_factory=Regression)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    sampling, fits = config.sampling, config.regression
    for group, names in (
        (sampling, ("samples", "scale", "rates", "ascent_steps")),
        (fits, ("points", "test_points", "noise", "data_sets", "sizes", "degrees")),
        (fits, ("size_degree", "largest_degree")),
        (config.training, ("epochs", "learning_rate")),
    ):
        for name in names:
            value = getattr(group, name)
            if not (np.size(value) and np.all((np.asarray(value) > 0) & np.isfinite(value))):
                raise ValueError(
                    f"--{name.replace('_', '-')} expected positive numbers, got {value}"
                )
    enough = {"points": max(*fits.degrees, fits.largest_degree), "sizes": fits.size_degree}
    for name, degree in enough.items():
        if np.min(getattr(fits, name)) <= degree:
            raise ValueError(
                f"--{name} expected more points than the degree {degree}, "
                f"got {getattr(fits, name)}; a polynomial through all points also fits their noise"
            )
    training.steps_per_epoch(fits.points, config.training.batch_size)
    check_running(config.running)


def initial_coefficients(degrees: Sequence[int], key: Array) -> dict[str, Array]:
    """Random coefficients (basis, functions) of each degree."""
    return {
        f"degree_{degree}": jax.random.normal(each, (degree + 1, len(polynomials.TRUTHS)))
        for degree, each in zip(degrees, jax.random.split(key, len(degrees)), strict=True)
    }


def log_likelihood(
    log_noise: float, params: dict[str, Array], example: jaxvae.Example, *, key, settings
) -> jaxvae.Estimate:
    """Log-density of one point under all polynomials, the sum of Normals about their values.

    Args:
        log_noise: logarithm of the standard deviation of the Normals.
        params: coefficients of each degree.
        example: features (data sets, basis) and y (data sets, functions) of one point.
        key: unused.
        settings: the number of the data set.
    """
    del key
    features, y = example.target[0][settings], example.target[1][settings]
    parts = {
        name: Normal(polynomials.predict(c, features), jnp.full_like(y, log_noise)).log_prob(y)
        for name, c in params.items()
    }
    total = jnp.sum(jnp.stack(list(parts.values())))
    return jaxvae.Estimate(surrogate=total, bound=total, parts=parts)


def fit_polynomials(config: Config, train: Any, test: Any, keys: Array, run: Any) -> training.Fit:
    """Fit all degrees, functions and seeds in one compiled run; each seed has its own points."""
    options = config.training
    steps = options.epochs * training.steps_per_epoch(config.regression.points, options.batch_size)
    rows, held_out = (
        tuple(jnp.swapaxes(array, 0, 1) for array in (points.features, points.y))
        for points in (train, test)
    )
    return jaxvae.fit(
        partial(log_likelihood, float(np.log(config.regression.noise))),
        partial(initial_coefficients, config.regression.degrees),
        rows,
        key=keys,
        num_steps=steps,
        batch_size=options.batch_size,
        hyperparameters=jnp.arange(len(keys)),
        optimiser=optax.sgd(optax.cosine_decay_schedule(options.learning_rate, steps)),
        settings=lambda step, data: data,
        held_out=held_out,
        run=run,
    )


def main(config: Config) -> dict[str, Any]:
    """Fit, measure, draw and save; returns the metrics."""
    check(config)
    running, fits = config.running, config.regression
    keys = seed_keys(running)
    ascent_keys, point_keys, fit_keys = jax.vmap(partial(jax.random.split, num=3), out_axes=1)(keys)
    train, test = polynomials.draw(
        point_keys, fits.points, fits.test_points, fits.noise, max(fits.degrees)
    )

    with open_run("maximum_likelihood", config) as run:
        result = fit_polynomials(config, train, test, fit_keys, run)
        climbed = ascent.ascend(config.sampling, ascent_keys)
        swept = polynomials.sweep(fits, data_keys(running)[0])
        report = run.save_metrics(
            {
                **header("maximum_likelihood", "simulated", running),
                **ascent.metrics(config.sampling, climbed),
                **polynomials.metrics(fits, train, test, result.params),
                **polynomials.sweep_metrics(fits, *swept),
                **training.training_metrics(result, run.history()),
            }
        )
        for name, figure in (
            ascent.pictures(config.sampling, climbed)
            | polynomials.pictures(fits, train, test)
            | polynomials.sweep_pictures(fits, *swept)
        ).items():
            run.save_figure(name, figure)
    print(training.format_metrics(report))
    print(f"\nPictures, metrics and checkpoints: {run.directory}")
    return report
