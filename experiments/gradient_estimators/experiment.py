"""Score function against reparameterised gradients: the Heidelberg lecture, SGVB.

The estimators are compared on the lecture's Gaussian example, where the exact gradient and the
variances are known, and on two small variational autoencoders of images. One has Normal latents.
The other has latent bits, and its exact gradient is a sum over all of their values:

    python -m experiments.gradient_estimators

All estimators of a model start from the same parameters, see the same batches and take the same
number of steps, with the same number of samples except for the exact one. They are trained in one
compiled run, so that its time is that of all together. IWAE, VIMCO and Renyi's bound are trained on
their own bound, but the reported bound is always the ELBO. Signal and noise of all estimators are
measured at the same parameters: at initial ones, and at those that the reference (pathwise or
enumerated) has learnt, with a baseline that was learnt for them.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxvae
from experiments.gradient_estimators import comparison, gaussian, pictures
from experiments.gradient_estimators.estimators import Family, families
from experiments.gradient_estimators.gaussian import Gaussian
from experiments.shared.options import Running, check_running
from experiments.shared.runs import data_keys, header, open_run, seed_keys
from jaxvae import data, metrics, training


@dataclass(frozen=True)
class Model:
    """Both variational autoencoders."""

    latents: int = 4
    """Number of Normal latents."""
    bits: int = 6
    """Number of bits; the exact gradient sums over 2^bits events."""
    hidden: int = 64
    """Units of the one hidden layer of each perceptron."""


@dataclass(frozen=True)
class Estimation:
    """How gradients are estimated, and how their noise and bias are measured."""

    samples: int = 8
    """Samples in each estimate, L or K."""
    temperatures: tuple[float, ...] = (0.2, 1.0)
    """Temperatures of the Gumbel-softmax estimators."""
    keys: int = 100
    """Gradients of one batch with which noise and bias are measured."""
    only: tuple[str, ...] = ()
    """Names of estimators, such as score; by default all. The references are always included."""
    test_samples: int = 64
    """Samples for the test bound of each image with Normal latents; that of bits is exact."""


@dataclass(frozen=True)
class Training:
    """Adam."""

    epochs: int = 40
    """Passes over the training images."""
    batch_size: int = 64
    """Images in a step, and in the batch whose gradients are compared."""
    learning_rate: float = 2e-3
    """Learning rate of Adam."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    gaussian: Gaussian = field(default_factory=Gaussian)
    model: Model = field(default_factory=Model)
    estimation: Estimation = field(default_factory=Estimation)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=partial(Running, seeds=3))


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    lecture = config.gaussian
    least = {"repeats": 2, "samples": 2, "keys": 2}
    for group, names in (
        (lecture, ("posterior_scale", "dimension", "draws", "dimensions", "repeats")),
        (config.model, ("latents", "bits", "hidden")),
        (config.estimation, ("samples", "temperatures", "keys", "test_samples")),
        (config.training, ("epochs", "batch_size", "learning_rate")),
    ):
        for name in names:
            value = np.asarray(getattr(group, name), float)
            if not (value.size and np.all((value > 0) & (value >= least.get(name, 0)))):
                flag, wanted = name.replace("_", "-"), least.get(name, "above 0")
                raise ValueError(f"--{flag} expected numbers from {wanted}, got {value}")
    for name, least_of_all in (("draws", 2), ("dimensions", 1)):
        numbers = getattr(lecture, name)
        if len({number for number in numbers if number >= least_of_all}) < 2:
            raise ValueError(
                f"--{name} expected two different numbers from {least_of_all}, for a slope, "
                f"got {numbers}"
            )
    check_running(config.running)


def test_bounds(found: dict[str, Family], params: dict[str, Any], images: Array, seed: int):
    """The ELBO of the test images after training with each estimator, one entry for each seed."""
    examples = jaxvae.Example(images, images)
    values = {}
    for kind, family in found.items():
        for name in family.estimators:
            mine = params[f"{kind}_{name}"]._replace(auxiliary=None)
            bounds = [
                metrics.evaluate(
                    family.test_objective, each, examples, key=jax.random.key(seed)
                ).mean.bound
                for each in training.members_of(mine, jax.tree.leaves(mine)[0].shape[0])
            ]
            values[f"test_elbo_nats_{kind}_{name}"] = np.asarray(bounds)
    return values


def compare_all(
    found: dict[str, Family], keys: Array, params: dict[str, Any], images: Array, options: Any
) -> dict[str, dict[str, comparison.Noise]]:
    """Noise of all estimators at initial parameters and at those of the reference."""
    start = jax.vmap(partial(comparison.fresh, found))(keys)
    noise = {}
    for kind, family in found.items():
        stages = [comparison.with_fitted(kind, family, each) for each in (start, params)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *stages)
        noise[kind] = comparison.compare(
            family, stacked, jaxvae.Example(images, images), jax.random.key(0), options.keys
        )
    return noise


def fit(
    options: Training, found: dict[str, Family], images: np.ndarray, keys: Array, run: training.Run
) -> training.Fit:
    """Train with all estimators and seeds in one compiled run, each with its own parameters."""
    return jaxvae.fit(
        partial(comparison.loss, found),
        partial(comparison.fresh, found),
        images,
        key=keys,
        num_steps=options.epochs * training.steps_per_epoch(len(images), options.batch_size),
        batch_size=options.batch_size,
        optimiser=optax.adam(options.learning_rate),
        run=run,
    )


def main(config: Config) -> dict[str, Any]:
    """Measure, train, compare, draw and save; returns the metrics."""
    check(config)
    running, options = config.running, config.training
    dataset = data.load("digits")
    images, test = dataset.train.inputs, jnp.asarray(dataset.test.inputs)
    training.steps_per_epoch(len(images), options.batch_size)
    estimation = {k: v for k, v in vars(config.estimation).items() if k != "keys"}
    found = families(images.shape[1:], **vars(config.model), **estimation)
    keys = seed_keys(running)
    fit_keys, fresh_keys, _ = jax.vmap(partial(jax.random.split, num=3), out_axes=1)(keys)

    with open_run("gradient_estimators", config, may_change=("epochs",)) as run:
        result = fit(options, found, images, fit_keys, run)
        swept = gaussian.sweep(config.gaussian, data_keys(running)[0])
        batch = jnp.asarray(images[: options.batch_size])
        noise = compare_all(found, fresh_keys, result.params, batch, config.estimation)
        bounds = test_bounds(found, result.params, test, running.seed)
        report = run.save_metrics(
            {
                **header("gradient_estimators", "digits", running),
                **gaussian.metrics(config.gaussian, *swept),
                **bounds,
                **comparison.noise_metrics(noise),
                **training.training_metrics(result, run.history()),
            }
        )
        drawn = {
            "lecture": pictures.lecture(config.gaussian, *swept),
            "training": pictures.training_curves(found, run.history(), bounds),
            "noise": pictures.noise_bars(found, noise),
        }
        for name, figure in drawn.items():
            run.save_figure(name, figure)
    print(training.format_metrics(report))
    print(f"\nPictures, metrics and checkpoints: {run.directory}")
    return report
