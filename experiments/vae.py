"""A variational autoencoder on images: exercise 12 and the Bath report's section 4.4.

Exercise 12 (784-256-50, grey pixels, two minutes on two cores; test ELBO -102.4 nats):

    python -m experiments.vae --dataset mnist --latent-dim 50 --hidden 256 --epochs 100

The Bath report's convolutional network with a two-dimensional latent space:

    python -m experiments.vae --dataset mnist --network conv --latent-dim 2 --batch-size 128
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jaxvae
from experiments.shared.options import (
    Devices,
    MonitoredRunning,
    Training,
    check_options,
    check_positive,
)
from experiments.shared.runs import header, open_session
from jaxvae import data, distributions, metrics, models, nn, objectives, plotting, recipe, training


@dataclass(frozen=True)
class Data:
    """The data set."""

    dataset: str = "digits"
    """digits, mnist, fashion_mnist, binarized_mnist, tfds:NAME, or FILE.npy / FILE.npz."""
    data_dir: str | None = None
    """Folder with the original files; then JAXVAE_DATA, the cache and a download are tried."""
    validation: int = 0
    """Training images held out for the curve; with none, the curve shows the test images."""
    binarisation: Literal["none", "static", "dynamic"] = "none"
    """Grey pixels as they are, binarised once, or anew at every visit (once for the test)."""


@dataclass(frozen=True)
class Model:
    """The variational autoencoder."""

    network: Literal["mlp", "conv"] = "mlp"
    """Multilayer perceptrons, or the Bath report's convolutions (32, 64, dense 16)."""
    likelihood: Literal["bernoulli", "normal"] = "bernoulli"
    """Bernoulli from logits, or Normal with unit variance."""
    latent_dim: int = 2
    """Number of latent dimensions."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of each perceptron."""
    nll_samples: int = 1000
    """Importance samples for the test log-likelihood of each image."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=partial(Training, epochs=300))
    running: MonitoredRunning = field(default_factory=MonitoredRunning)
    devices: Devices = field(default_factory=Devices)


def model_recipe(config: Model, compute: str, shape: tuple[int, ...]) -> partial:
    """The model as a recipe, so that ``jaxvae.load`` can build it again."""
    encoder: Any
    decoder: Any
    if config.network == "conv":
        encoder = partial(nn.conv_encoder, shape, 2 * config.latent_dim)
        decoder = partial(nn.conv_decoder, config.latent_dim, shape)
    else:
        encoder = partial(nn.mlp, shape, (2 * config.latent_dim,), hidden=config.hidden)
        decoder = partial(nn.mlp, (config.latent_dim,), shape, hidden=config.hidden[::-1])
    if compute != "float32":
        params = "float64" if compute == "float64" else "float32"
        precision = partial(partial, nn.with_precision, params=params, compute=compute)
        encoder, decoder = precision(encoder), precision(decoder)
    return partial(
        models.vae,
        encoder=encoder,
        decoder=decoder,
        latent_dim=config.latent_dim,
        likelihood={"bernoulli": distributions.Bernoulli, "normal": models.unit_normal}[
            config.likelihood
        ],
    )


def load_data(config: Data, seed: int) -> tuple[data.Dataset, training.Prepare]:
    """The data set with its binarisation, and the function that turns a row into an example."""
    dataset = data.load(config.dataset, config.data_dir, validation=config.validation, seed=seed)
    if config.binarisation == "none":
        return dataset, training.autoencode
    static = data.binarise(dataset, seed=seed)
    if config.binarisation == "static":
        return static, training.autoencode
    # Binarising what is binary changes nothing, so validation and test keep their one draw.
    pixels = f"dynamic; test {static.binarisation}"
    return static._replace(train=dataset.train, binarisation=pixels), training.binarise_dynamically


def check(config: Config, dataset: data.Dataset) -> None:
    """Refuse what cannot be run, before anything is written."""
    check_options(config.training, config.running, validation=dataset.validation is not None)
    check_positive(config.model, "latent_dim", "nll_samples")
    training.steps_per_epoch(len(dataset.train.inputs), config.training.batch_size)
    parts = [part.inputs for part in (dataset.train, dataset.validation, dataset.test) if part]
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    if config.model.likelihood == "bernoulli" and (low < 0 or high > 1):
        raise ValueError(
            f"--likelihood bernoulli expected pixels from 0 to 1, got {low:g} to {high:g}; "
            f"rescale {config.data.dataset} or use --likelihood normal"
        )


def evaluate(
    trained: jaxvae.Trained, loss: training.Loss, images: Array, key: Array, nll_samples: int
) -> dict[str, Any]:
    """Test bound, importance-sampled likelihood and use of the latent space, of one seed."""
    examples = jaxvae.Example(inputs=images, target=images)
    model, params = trained
    bound_key, likelihood_key, information_key = jax.random.split(key, 3)
    bound = metrics.evaluate(loss, params, examples, key=bound_key)
    weights = metrics.importance_log_likelihood(
        model, params, examples, key=likelihood_key, num_samples=nll_samples
    )
    kl = metrics.kl_per_dimension(model, params, examples)
    means = metrics.posterior_means(model, params, examples)
    information = metrics.mutual_information(model, params, examples, key=information_key)
    return {
        "test_elbo_nats": bound.mean.bound,
        "test_reconstruction_nats": bound.mean.parts["reconstruction"],
        "test_kl_nats": bound.mean.parts["kl"],
        "test_nll_nats": -jnp.mean(weights.log_likelihood),
        "median_effective_sample_size": jnp.median(weights.effective_sample_size),
        "largest_weight": jnp.max(weights.largest_weight),
        "mutual_information_nats": information.mutual_information,
        "active_units": metrics.active_units(means),
        "kl_nats_of_the_most_used_dimension": jnp.max(kl),
        "kl_nats_of_the_least_used_dimension": jnp.min(kl),
    }


def draw(run: training.Run, trained: training.Trained, dataset: data.Dataset, curve: str) -> None:
    """Draw all pictures, of the first seed."""
    run.save_figure("elbo", plotting.elbo_curve(run.history(), held_out=curve))
    test = dataset.test.inputs
    examples = jaxvae.Example(inputs=test, target=test)
    kl = metrics.kl_per_dimension(trained.model, trained.params, examples)
    used = np.argsort(-np.asarray(kl))[:10]
    means = np.asarray(trained.encode(test).mean)
    if len(used) > 1:
        first, second = sorted(used[:2])
        names = (f"z{first + 1}", f"z{second + 1}")
        pairs = means[:, [first, second]]
        run.save_figure("latent", plotting.latent_scatter(pairs, dataset.test.labels, names=names))
    if test.ndim != 3 and test.shape[3:] not in ((1,), (3,)):
        return
    samples = trained.sample(64, key=jax.random.key(0))
    run.save_figure("samples", plotting.image_grid(samples, title="Generated samples"))
    shown = test[:30]
    run.save_figure("reconstructions", plotting.reconstructions(shown, trained.reconstruct(shown)))
    paths = plotting.latent_paths(means[0], used, steps=11)
    rows = trained.decode(paths.reshape(-1, means.shape[1])).reshape(
        *paths.shape[:2], *test.shape[1:]
    )
    labels = [f"z{i + 1}: KL {kl[i]:.2f}" for i in used]
    run.save_figure("traversals", plotting.traversals(rows, labels=labels))
    if means.shape[1] == 2:
        run.save_figure("manifold", plotting.manifold(trained.decode(plotting.latent_grid())))


def main(config: Config) -> dict[str, Any]:
    """Train, evaluate, draw and save; returns the metrics."""
    seed = config.running.seed
    dataset, prepare = load_data(config.data, seed)
    images, test = dataset.train.inputs, jnp.asarray(dataset.test.inputs)
    check(config, dataset)
    model_from = model_recipe(config.model, config.training.compute, images.shape[1:])
    model = recipe.build(model_from)
    loss = partial(objectives.elbo, model)
    validation = dataset.validation or dataset.test
    curve = "test" if dataset.validation is None else "validation"
    slow_batched = config.model.network == "conv" and jax.default_backend() == "cpu"

    with open_session("vae", config, model_from) as session:
        result = session.fit(
            loss,
            model.init,
            images,
            prepare=prepare,
            held_out=validation.inputs,
            members=training.one_by_one if slow_batched else training.vectorised,
        )
        run, count = session.run, session.members
        parameters = training.members_of(session.chosen(result), count)
        members = [jaxvae.Trained(model, params) for params in parameters]
        found = [
            evaluate(trained, loss, test, jax.random.key(number), config.model.nll_samples)
            for number, trained in enumerate(members, seed)
        ]
        report = run.save_metrics(
            {
                **header("vae", config.data.dataset, config.running),
                "binarisation": dataset.binarisation,
                "nll_samples": config.model.nll_samples,
                **{name: np.asarray([own[name] for own in found]) for name in found[0]},
                **training.training_metrics(result, run.history()),
            }
        )
        draw(run, members[0], dataset, curve)
    print(training.format_metrics(report))
    print(f"\nPictures, metrics and checkpoints: {run.directory}")
    return report


if __name__ == "__main__":
    training.command_line(main, Config)
