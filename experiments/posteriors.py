"""Posterior families compared: diagonal, full covariance, and inverse autoregressive flow.

The set-up is that of a public JAX implementation: 128 latents, perceptrons of 512 x 512, RMSprop,
batches of 128, about 30,000 steps, static binarised MNIST, 1,000 importance samples:

    python -m experiments.posteriors --seeds 3

In addition, the learning rate decays along a cosine and the weight of the KL term grows from 0 to 1
over the first 20 epochs, for all families alike. Without this warm-up many latents become inactive
in the first epochs and remain so, and a more flexible posterior has little to gain.

Every family has a folder of its own inside that of the run, with all seeds, and the run's
metrics.json has the table. ``--resume`` continues with the family that was interrupted.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

import jaxvae
from experiments.shared import comparison
from experiments.shared.options import (
    Devices,
    MonitoredRunning,
    Training,
    check_options,
    check_positive,
)
from experiments.shared.runs import header, open_session
from jaxvae import data, models, nn, objectives, plotting, recipe, training

Family = Literal[
    "diagonal", "full_covariance", "low_rank", "inverse_autoregressive", "coupling", "planar"
]


@dataclass(frozen=True)
class Model:
    """The variational autoencoder and its posterior."""

    posteriors: tuple[Family, ...] = ("diagonal", "full_covariance", "inverse_autoregressive")
    """Families to compare, in this order."""
    latent_dim: int = 128
    """Number of latent dimensions."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the hidden layers of encoder and decoder."""
    blocks: int = 2
    """Number of blocks of a flow."""
    columns: int = 8
    """Columns of the covariance factor of low_rank."""
    nll_samples: int = 1000
    """Importance samples for the test log-likelihood of each image."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    dataset: str = "binarized_mnist"
    """Binary images: binarized_mnist, or another data set, binarised once with the seed."""
    data_dir: str | None = None
    """Folder with the original files; then JAXVAE_DATA, the cache and a download are tried."""
    model: Model = field(default_factory=Model)
    training: Training = field(
        default_factory=partial(
            Training,
            epochs=77,
            batch_size=128,
            optimiser="rmsprop",
            schedule="cosine",
            kl_warmup_epochs=20,
        )
    )
    running: MonitoredRunning = field(default_factory=MonitoredRunning)
    devices: Devices = field(default_factory=Devices)


def posterior_recipe(config: Model, name: Family) -> Any:
    """The family with its sizes, as a recipe."""
    return {
        "diagonal": partial(models.diagonal),
        "full_covariance": partial(models.full_covariance),
        "low_rank": partial(models.low_rank, config.columns),
        "inverse_autoregressive": partial(
            models.inverse_autoregressive, config.blocks, hidden=config.hidden
        ),
        "coupling": partial(models.coupling, config.blocks, hidden=config.hidden),
        "planar": partial(models.planar, config.blocks),
    }[name]


def model_recipe(config: Model, name: Family, shape: tuple[int, ...]) -> partial:
    """The model as a recipe, so that ``jaxvae.load`` can build it again."""
    posterior = posterior_recipe(config, name)
    outputs = recipe.build(posterior).num_outputs(config.latent_dim)
    encoder: Any = partial(nn.mlp, shape, (outputs,), hidden=config.hidden)
    decoder: Any = partial(nn.mlp, (config.latent_dim,), shape, hidden=config.hidden[::-1])
    return partial(
        models.vae,
        encoder=encoder,
        decoder=decoder,
        latent_dim=config.latent_dim,
        posterior=posterior,
    )


def load_data(config: Config) -> data.Dataset:
    """Binary images; those of a grey data set are binarised once."""
    dataset = data.load(config.dataset, config.data_dir, seed=config.running.seed)
    if dataset.binarisation == "none":
        return data.binarise(dataset, seed=config.running.seed)
    return dataset


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    check_options(config.training, config.running, validation=True)
    check_positive(config.model, "latent_dim", "nll_samples", "blocks", "columns")
    comparison.check_names("--posteriors", config.model.posteriors)


def train(
    config: Config, dataset: data.Dataset, name: Family, running: MonitoredRunning
) -> dict[str, Any]:
    """Train and evaluate one family in a folder of its own; returns its metrics."""
    config = dataclasses.replace(config, running=running)
    images, test = dataset.train.inputs, jnp.asarray(dataset.test.inputs)
    model_from = model_recipe(config.model, name, images.shape[1:])
    model = recipe.build(model_from)
    is_flow = name in ("inverse_autoregressive", "coupling", "planar")
    kl = objectives.analytic_base if is_flow else objectives.analytic
    loss = partial(objectives.elbo, model, kl=kl)
    held_out = dataset.validation or dataset.test
    with open_session("posteriors", config, model_from) as session:
        result = session.fit(
            loss, model.init, images, prepare=training.autoencode, held_out=held_out.inputs
        )
        curve = "test" if dataset.validation is None else "validation"
        run = session.run
        run.save_figure("elbo", plotting.elbo_curve(run.history(), held_out=curve))

        def evaluate(params: Any, key: Array) -> dict[str, Array]:
            trained = jaxvae.Trained(model, params)
            return comparison.evaluate(loss, trained, test, key, config.model.nll_samples)

        first = {**beginning(config, dataset), "posterior": name}
        return comparison.finish(session, result, evaluate, first)


def beginning(config: Config, dataset: data.Dataset) -> dict[str, Any]:
    """The first entries of every metrics.json of the experiment."""
    return {
        **header("posteriors", config.dataset, config.running),
        "binarisation": dataset.binarisation,
        "nll_samples": config.model.nll_samples,
    }


def main(config: Config) -> dict[str, Any]:
    """Train and compare all families; returns the metrics."""
    check(config)
    dataset = load_data(config)
    return comparison.compare(
        "posteriors",
        config,
        config.model.posteriors,
        beginning(config, dataset),
        lambda name, running: train(config, dataset, name, running),
    )


if __name__ == "__main__":
    training.command_line(main, Config)
