"""VAE, IWAE and DReG in the set-up of Burda et al. (2016), on binary MNIST.

50 latents, tanh perceptrons of 200 x 200, batches of 20, pixels binarised anew at every visit, Adam
with epsilon 1e-4, and a learning rate that falls in stages of 3^i epochs, from 1e-3 by 10^(-1/7):

    python -m experiments.importance_weighted --epochs 13

All eight stages of the paper are 3,280 epochs. A method NAME_K draws K samples a step: vae_K
averages K terms of the ELBO, iwae_K is the importance-weighted bound, and dreg_K is the same bound
with doubly reparameterised gradients. Every method has a folder of its own inside that of the run,
and --resume skips methods that are finished.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxvae
from experiments.shared import comparison
from experiments.shared.options import (
    Devices,
    MonitoredRunning,
    Training,
    check_options,
    check_positive,
    check_unused,
)
from experiments.shared.runs import header, open_session
from jaxvae import data, metrics, models, nn, objectives, plotting, recipe, training

Method = Literal["vae_1", "vae_5", "vae_50", "iwae_5", "iwae_50", "dreg_5", "dreg_50"]
STAGES = 8


@dataclass(frozen=True)
class Model:
    """The variational autoencoder and its bound."""

    methods: tuple[Method, ...] = ("vae_1", "iwae_5", "iwae_50", "dreg_50")
    """Bounds to compare, with their numbers of samples."""
    latent_dim: int = 50
    """Number of latent dimensions."""
    hidden: tuple[int, ...] = (200, 200)
    """Widths of the hidden layers of encoder and decoder."""
    nll_samples: int = 5000
    """Importance samples for the test log-likelihood of each image."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    dataset: str = "mnist"
    """Grey images, whose values are the probabilities of the pixels."""
    data_dir: str | None = None
    """Folder with the original files; then JAXVAE_DATA, the cache and a download are tried."""
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=partial(Training, epochs=40, batch_size=20))
    running: MonitoredRunning = field(default_factory=MonitoredRunning)
    devices: Devices = field(default_factory=Devices)


def staged_adam(peak: float, steps_per_epoch: int) -> optax.GradientTransformation:
    r"""Adam with rate $\eta_i = \eta_0 10^{-i/7}$ in stage i of $3^i$ epochs, i = 0 to 7."""
    lengths = [3**stage * steps_per_epoch for stage in range(STAGES)]
    falls = {int(step): 10.0 ** (-1.0 / 7.0) for step in np.cumsum(lengths[:-1])}
    schedule = optax.piecewise_constant_schedule(peak, falls)
    return optax.adam(schedule, eps=1e-4)


def model_recipe(config: Model, shape: tuple[int, ...]) -> partial:
    """The model as a recipe, so that ``jaxvae.load`` can build it again."""
    network: Any = partial(partial, nn.mlp, activation=nn.tanh)
    return partial(
        models.vae,
        encoder=network(shape, (2 * config.latent_dim,), hidden=config.hidden),
        decoder=network((config.latent_dim,), shape, hidden=config.hidden[::-1]),
        latent_dim=config.latent_dim,
    )


def loss_of(model: jaxvae.LatentVariableModel, name: Method) -> training.Loss:
    """The objective of a method."""
    kind, samples = name.split("_")
    objective = {
        "vae": partial(objectives.elbo, model),
        "iwae": partial(objectives.iwae, model),
        "dreg": partial(objectives.iwae, model, gradient=objectives.doubly_reparameterised),
    }[kind]
    return partial(objective, num_samples=int(samples))


def train(
    config: Config, dataset: data.Dataset, name: Method, running: MonitoredRunning
) -> dict[str, Any]:
    """Train and evaluate one method in a folder of its own; returns its metrics."""
    config = dataclasses.replace(config, running=running)
    images, test = dataset.train.inputs, jnp.asarray(dataset.test.inputs)
    model_from = model_recipe(config.model, images.shape[1:])
    model = recipe.build(model_from)
    steps = training.steps_per_epoch(len(images), config.training.batch_size)
    with open_session("importance_weighted", config, model_from) as session:
        result = session.fit(
            loss_of(model, name),
            model.init,
            images,
            prepare=training.binarise_dynamically,
            held_out=dataset.test.inputs,
            optimiser=staged_adam(config.training.learning_rate, steps),
        )
        run = session.run
        run.save_figure("bound", plotting.elbo_curve(run.history(), held_out="test"))

        def evaluate_seed(params: Any, key: Array) -> dict[str, Array]:
            return evaluate(jaxvae.Trained(model, params), test, key, config.model.nll_samples)

        first = {**beginning(config, dataset), "candidate": name}
        return comparison.finish(session, result, evaluate_seed, first)


def evaluate(trained: jaxvae.Trained, images: Array, key: Array, samples: int) -> dict[str, Array]:
    """Test ELBO, importance-sampled likelihood and active units of one seed."""
    loss = partial(objectives.elbo, trained.model)
    means = metrics.posterior_means(*trained, jaxvae.Example(inputs=images, target=images))
    return {
        **comparison.evaluate(loss, trained, images, key, samples),
        "active_units": metrics.active_units(means),
    }


def beginning(config: Config, dataset: data.Dataset) -> dict[str, Any]:
    """The first entries of every metrics.json of the experiment."""
    return {
        **header("importance_weighted", config.dataset, config.running),
        "binarisation": f"dynamic; test {dataset.binarisation}",
        "epochs": config.training.epochs,
        "nll_samples": config.model.nll_samples,
    }


def check_fixed(options: Training) -> None:
    """Refuse options that would change the optimiser and the bounds of the paper."""
    free = {"epochs", "batch_size", "learning_rate", "compute"}
    reason = "importance_weighted has the optimiser and the bounds of Burda et al. (2016)"
    check_unused(options, vars(options).keys() - free, reason)


def main(config: Config) -> dict[str, Any]:
    """Train and compare all methods; returns the metrics."""
    check_options(config.training, config.running, validation=False)
    check_fixed(config.training)
    comparison.check_names("--methods", config.model.methods)
    check_positive(config.model, "latent_dim", "nll_samples")
    seed = config.running.seed
    grey = data.load(config.dataset, config.data_dir, seed=seed)
    static = data.binarise(grey, seed=seed)
    # Binarising what is binary changes nothing, so the test images keep their one draw.
    dataset = static._replace(train=grey.train)
    return comparison.compare(
        "importance_weighted",
        config,
        config.model.methods,
        beginning(config, dataset),
        lambda name, running: train(config, dataset, name, running),
    )


if __name__ == "__main__":
    training.command_line(main, Config)
