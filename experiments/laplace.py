"""Laplace's method: Stirling's formula (exercise 12, task 1), and the evidence of a small VAE.

    python -m experiments.laplace --out runs/laplace

Stirling's formula is Laplace's approximation of N!, with a relative error of 1/(12 N). The same
method approximates log p(x) of a VAE with a two-dimensional latent space. There it is compared with
importance sampling from the encoder and with annealed importance sampling, which brackets log p(x)
of images that the model itself has drawn.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from scipy.special import gammaln

import jaxvae
from experiments.shared.options import Devices, MonitoredRunning, Training, check_options
from experiments.shared.runs import header, open_session
from jaxvae import data, metrics, models, nn, objectives, training
from jaxvae.laplace import laplace


@dataclass(frozen=True)
class Model:
    """The variational autoencoder, with tanh units, as Laplace's method needs a curvature."""

    dataset: str = "digits"
    """One of the data sets of the experiment vae: digits, mnist, ..."""
    data_dir: str | None = None
    """Folder with the original files; then JAXVAE_DATA, the cache and a download are tried."""
    latent_dim: int = 2
    """Number of latent dimensions."""
    hidden: int = 64
    """Units of the one hidden layer of each perceptron."""


@dataclass(frozen=True)
class Estimation:
    """How log p(x) is estimated."""

    examples: int = 128
    """Number of images drawn from the model, and number of test images."""
    chains: int = 8
    """Annealed chains for each image and direction."""
    temperatures: int = 100
    """Steps between the encoder's posterior and the joint density."""
    nll_samples: int = 1000
    """Importance samples for each image."""
    largest: int = 10_000
    """Largest N in Stirling's formula."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    model: Model = field(default_factory=Model)
    estimation: Estimation = field(default_factory=Estimation)
    training: Training = field(default_factory=partial(Training, epochs=100))
    running: MonitoredRunning = field(default_factory=MonitoredRunning)
    devices: Devices = field(default_factory=Devices)


def build(config: Model, shape: tuple[int, ...]) -> jaxvae.LatentVariableModel:
    """The model; ``jaxvae.load`` needs it as ``model=``, as a recipe cannot name tanh."""
    network = partial(nn.mlp, hidden=(config.hidden,), activation=nn.tanh)
    return models.vae(
        encoder=network(shape, (2 * config.latent_dim,)),
        decoder=network((config.latent_dim,), shape),
        latent_dim=config.latent_dim,
    )


def check(config: Config, dataset: data.Dataset) -> None:
    """Refuse what cannot be run, before anything is written."""
    check_options(config.training, config.running, validation=dataset.validation is not None)
    values = {"latent_dim": config.model.latent_dim, "hidden": config.model.hidden}
    values |= vars(config.estimation)
    for name, value in values.items():
        least = 2 if name == "temperatures" else 1
        if value < least:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} expected a number from {least}, got {value}")
    training.steps_per_epoch(len(dataset.train.inputs), config.training.batch_size)


def stirling(largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Some N up to the largest, and the relative errors of Laplace's approximation of N!."""
    numbers = np.unique(np.geomspace(1, largest, 25).round())
    with jax.enable_x64(True):
        found = jax.vmap(lambda n: laplace(lambda t: n * jnp.log(t) - t, n))(jnp.asarray(numbers))
        return numbers, -np.expm1(np.asarray(found.log_integral) - gammaln(numbers + 1))


def evaluate(trained: jaxvae.Trained, test: Array, key: Array, options: Estimation) -> Any:
    """Estimates of log p(x) in nats for images drawn from the model and for test images."""
    model, params = trained
    draws_key, annealed_key, *sample_keys = jax.random.split(key, 4)
    settings = {"num_chains": options.chains, "num_temperatures": options.temperatures}
    bracket = metrics.bracket_log_likelihood(
        model, params, key=draws_key, num_examples=options.examples, **settings
    )
    images = test[: options.examples]
    annealed = metrics.annealed_log_likelihood(
        model, params, jaxvae.Example(images, images), key=annealed_key, **settings
    )
    found = {"draws": bracket.examples, "test": jaxvae.Example(images, images)}
    estimates = {}
    for (name, examples), sample_key in zip(found.items(), sample_keys, strict=True):
        approximation = metrics.laplace_log_evidence(model, params, examples)
        importance = metrics.importance_log_likelihood(
            model, params, examples, key=sample_key, num_samples=options.nll_samples
        )
        annealing = bracket.lower if name == "draws" else annealed
        estimates[name] = {
            "annealed": annealing.log_likelihood,
            "laplace": approximation.log_integral,
            "importance": importance.log_likelihood,
            "sound": approximation.converged & approximation.negative_definite,
        }
    estimates["draws"]["upper"] = bracket.upper.log_likelihood
    sampler = {
        "acceptance": jnp.mean(bracket.lower.acceptance),
        "effective_chains": jnp.mean(bracket.lower.effective_sample_size),
    }
    return jax.tree.map(np.asarray, (estimates, sampler))


def summarise(estimates: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Means over images; those of Laplace's method over images for which it found a maximum."""
    draws, test = estimates["draws"], estimates["test"]
    middle = 0.5 * (draws["annealed"] + draws["upper"])
    sound = draws["sound"]
    if not (sound.any() and test["sound"].any()):
        raise FloatingPointError(
            "Laplace's method found no mode with a curvature for any image; train for more "
            "--epochs, or choose a smaller --latent-dim"
        )
    return {
        "draws_lower_nats": draws["annealed"].mean(),
        "draws_upper_nats": draws["upper"].mean(),
        "draws_bracket_nats": (draws["upper"] - draws["annealed"]).mean(),
        "draws_laplace_gap_nats": (draws["laplace"] - middle)[sound].mean(),
        "draws_laplace_gap_spread_nats": (draws["laplace"] - middle)[sound].std(),
        "draws_importance_gap_nats": (draws["importance"] - middle).mean(),
        "draws_laplace_share": sound.mean(),
        "test_annealed_nats": test["annealed"].mean(),
        "test_laplace_gap_nats": (test["laplace"] - test["annealed"])[test["sound"]].mean(),
        "test_importance_gap_nats": (test["importance"] - test["annealed"]).mean(),
        "test_laplace_share": test["sound"].mean(),
    }


def draw_stirling(numbers: np.ndarray, errors: np.ndarray) -> Figure:
    """The relative error against N, with the first two orders of the prediction."""
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    first = 1 / (12 * numbers)
    axes.loglog(numbers, errors, "o", markersize=4, label="Laplace's method")
    axes.loglog(numbers, first, "-", linewidth=1, label="1/(12 N)")
    axes.loglog(numbers, first - 0.5 * first**2, "--", linewidth=1, label="1/(12 N) - 1/(288 N²)")
    axes.set(xlabel="N", ylabel="relative error of N!", title="Stirling's formula")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_evidence(estimates: dict[str, dict[str, np.ndarray]]) -> Figure:
    """The estimates of each image and their differences against the middle of its bracket."""
    draws = estimates["draws"]
    middle = 0.5 * (draws["annealed"] + draws["upper"])
    figure = Figure(figsize=(10.0, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (("laplace", "Laplace"), ("importance", "importance sampling")):
        left.plot(middle, draws[name], ".", markersize=4, alpha=0.7, label=label)
        right.plot(middle, draws[name] - middle, ".", markersize=4, alpha=0.7, label=label)
    ends = [middle.min(), middle.max()]
    left.plot(ends, ends, "k-", linewidth=0.8)
    half = 0.5 * (draws["upper"] - draws["annealed"])
    right.errorbar(middle, 0 * middle, np.abs(half), fmt="none", ecolor="k", linewidth=0.6)
    right.plot([], [], "k-", linewidth=0.6, label="annealed bracket")
    left.set(ylabel="estimate (nats)", title="log p(x) of the model's own draws")
    right.set(ylabel="estimate minus middle (nats)", title="Differences")
    for axes in (left, right):
        axes.set(xlabel="middle of the annealed bracket (nats)")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def main(config: Config) -> dict[str, Any]:
    """Train, estimate, draw and save; returns the metrics."""
    seed, options = config.running.seed, config.estimation
    dataset = data.load(config.model.dataset, config.model.data_dir, seed=seed)
    check(config, dataset)
    model = build(config.model, dataset.train.inputs.shape[1:])
    test = jnp.asarray(dataset.test.inputs)
    with open_session("laplace", config) as session:
        result = session.fit(
            partial(objectives.elbo, model),
            model.init,
            dataset.train.inputs,
            prepare=training.autoencode,
            held_out=dataset.test.inputs,
        )
        run, count = session.run, session.members
        found = [
            evaluate(jaxvae.Trained(model, params), test, jax.random.key(number), options)
            for number, params in enumerate(
                training.members_of(session.chosen(result), count), seed
            )
        ]
        members = [summarise(estimates) | sampler for estimates, sampler in found]
        numbers, errors = stirling(options.largest)
        report = run.save_metrics(
            {
                **header("laplace", config.model.dataset, config.running),
                "stirling_largest_n": int(numbers[-1]),
                "stirling_relative_error": float(errors[-1]),
                "stirling_error_times_12_n": float(12 * numbers[-1] * errors[-1]),
                **{name: np.asarray([own[name] for own in members]) for name in members[0]},
                **training.training_metrics(result, run.history()),
            }
        )
        run.save_figure("stirling", draw_stirling(numbers, errors))
        run.save_figure("evidence", draw_evidence(found[0][0]))
    print(training.format_metrics(report))
    print(f"\nPictures, metrics and checkpoints: {run.directory}")
    return report


if __name__ == "__main__":
    training.command_line(main, Config)
