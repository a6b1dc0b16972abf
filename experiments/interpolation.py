"""Irregular series filled in by a latent ODE: Rubanova, Chen and Duvenaud (2019).

    python -m experiments.interpolation --dataset periodic
    python -m experiments.interpolation --dataset physionet --data-dir FOLDER

periodic: sinusoids of random frequency and level. Some of their points are observed, in training
other points at each step. All points of the test series are compared with the model's means, as in
table 3 of the paper.

physionet: 37 variables over 48 hours in intensive care, in bins of 6 minutes and scaled to [0, 1]
over all records. The observations of the test records are compared with the model's means given
the same observations, as in table 4 of the paper, but with the 4,000 records of set A only and with
37 channels.

The error is the mean of squared differences over all compared values. The model's means are those
of the decoder at the posterior mean. All seeds use the data of the first one, and differ in their
parameters and noise.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxvae
from experiments.shared.options import Running, check_positive, check_running, check_unused
from experiments.shared.runs import data_keys, header, open_run, seed_keys
from jaxvae import data, metrics, models, nn, objectives, ode, plotting, training


@dataclass(frozen=True)
class Problem:
    """The series."""

    dataset: Literal["periodic", "physionet"] = "periodic"
    """Simulated sinusoids, or records of intensive care."""
    data_dir: str | None = None
    """Folder with the original files; JAXVAE_DATA comes after it."""
    observed_fraction: float = 0.2
    """Share of the points of a periodic series that are observed."""
    series: int = 1000
    """Number of periodic series, a fifth of which are for the test."""


@dataclass(frozen=True)
class Model:
    """Sizes of the networks."""

    latent_dim: int = 10
    """Size of the latent state."""
    units: int = 40
    """Units of the recurrent encoder."""
    hidden: int = 100
    """Hidden units of the vector field and of the decoder."""
    noise: float | None = None
    """Standard deviation of the observations about their means; by default one is learnt for each
    channel, and channels that are hard to predict then count for less."""
    encoder: Literal["gru", "ode_rnn"] = "gru"
    """A GRU with time gaps, or one whose state follows an ODE between observations."""


@dataclass(frozen=True)
class Training:
    """Adam with a cosine decay of the learning rate to 0."""

    steps: int = 10_000
    """Steps of the optimiser."""
    batch_size: int = 50
    """Series in a step."""
    learning_rate: float = 5e-3
    """Learning rate at the beginning."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    problem: Problem = field(default_factory=Problem)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)


PANELS = 6
"""Panels of the picture."""
INTEGRATOR = ode.adaptive(1e-3, 1e-4, max_steps=512)
"""The solver of the latent ODE."""


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    check_positive(config.training, "steps", "batch_size", "learning_rate")
    check_positive(config.model, "latent_dim", "units", "hidden", "noise")
    check_running(config.running)
    problem = config.problem
    unused = ("data_dir",) if problem.dataset == "periodic" else ("observed_fraction", "series")
    check_unused(problem, unused, f"{problem.dataset} does not use it")
    if problem.series < 10:
        raise ValueError(f"--series expected at least 10, got {problem.series}")


class GriddedSeries(NamedTuple):
    """Series whose rows have places on a common grid of times.

    Attributes:
        observed: the series to encode, each at its own times.
        places: indices on the grid of the rows of ``values`` and ``mask``.
        values: the values to compare, (series, row, channel).
        mask: True where there is a value, (series, row, channel).
    """

    observed: jaxvae.TimeSeries
    places: Array | np.ndarray
    values: Array | np.ndarray
    mask: Array | np.ndarray


class Splits(NamedTuple):
    """Training and test series on a common grid.

    Attributes:
        times: of the grid.
        train: series for training.
        test: series for the reported errors.
        seen: number of rows of a training series that are encoded, drawn anew at each step; None
            for all rows.
    """

    times: tuple[float, ...]
    train: GriddedSeries
    test: GriddedSeries
    seen: int | None


def load(problem: Problem, running: Running) -> Splits:
    """The series of a data set, four fifths of them for training."""
    return (_periodic if problem.dataset == "periodic" else _physionet)(problem, running)


def _periodic(problem: Problem, running: Running) -> Splits:
    drawn = data.periodic(
        problem.series, observed_fraction=problem.observed_fraction, key=data_keys(running)[0]
    )
    target, train = drawn.target, problem.series - problem.series // 5
    places = np.broadcast_to(np.arange(target.times.shape[1]), target.times.shape)
    whole, seen = (
        GriddedSeries(observed, places, target.values, target.mask)
        for observed in (target, drawn.observed)
    )
    return Splits(
        times=tuple(np.asarray(target.times[0], float).tolist()),
        train=jax.tree.map(lambda x: x[:train], whole),
        test=jax.tree.map(lambda x: x[train:], seen),
        seen=drawn.observed.times.shape[1],
    )


def _physionet(problem: Problem, running: Running) -> Splits:
    bins = 480
    records = data.physionet2012(
        problem.data_dir, time_unit=48.0, range_over_all=True, seed=running.seed
    )

    def rows(part: data.IcuRecords) -> GriddedSeries:
        series = part.series
        return GriddedSeries(
            series, np.rint(series.times * bins).astype(int), series.values, series.mask
        )

    times = tuple((np.arange(bins + 1) / bins).tolist())
    return Splits(times, rows(records.train), rows(records.test), seen=None)


def example_of(
    length: int, row: GriddedSeries, *, key: Any = None, seen: int | None = None
) -> jaxvae.Example:
    """The input of the encoder, of ``seen`` random rows, and the target on the grid."""
    inputs = row.observed if seen is None else jaxvae.series.subsample(row.observed, seen, key=key)
    # Padding repeats a row's time: adding keeps what is observed there.
    zeros = jnp.zeros((length, row.values.shape[-1]), row.values.dtype)
    counts = zeros.at[row.places].add(row.mask.astype(zeros.dtype))
    sums = zeros.at[row.places].add(jnp.where(row.mask, row.values, 0))
    target = sums / jnp.maximum(counts, 1)
    return jaxvae.Example(inputs, target, jaxvae.Grid(None, counts > 0))


def build(config: Model, series: Splits) -> jaxvae.LatentVariableModel:
    """The latent ODE, which starts at the first time."""
    dim, hidden = config.latent_dim, (config.hidden,)
    channels = series.train.values.shape[-1]
    recurrence = {
        "gru": partial(nn.recurrent, cell=nn.gru_cell),
        "ode_rnn": nn.ode_rnn,
    }[config.encoder](channels, config.units)
    return models.latent_ode(
        encoder=nn.recurrent_encoder(recurrence, 2 * dim),
        dynamics=nn.mlp((dim,), (dim,), hidden=hidden, activation=nn.tanh),
        decoder=nn.mlp((dim,), (channels,), hidden=hidden),
        latent_dim=dim,
        channels=channels,
        likelihood=None if config.noise is None else models.normal(config.noise),
        common_times=series.times,
        integrator=INTEGRATOR,
    )


def fit(config: Config, model: jaxvae.LatentVariableModel, series: Splits, run: Any) -> Any:
    """Train all seeds in one compiled run."""
    options, running = config.training, config.running
    return jaxvae.fit(
        partial(objectives.elbo, model),
        model.init,
        series.train,
        key=seed_keys(running),
        num_steps=options.steps,
        batch_size=options.batch_size,
        prepare=partial(example_of, len(series.times), seen=series.seen),
        optimiser=optax.adam(optax.cosine_decay_schedule(options.learning_rate, options.steps)),
        log_every=min(20, options.steps),
        run=run,
    )


def predict(
    model: jaxvae.LatentVariableModel, params: Any, rows: GriddedSeries, length: int
) -> Array:
    """Means on the grid, (series, time, channel), computed for up to 50 series at a time."""

    def one(row: GriddedSeries) -> Array:
        example = example_of(length, row)
        z = model.posterior(params, example.inputs, example.context).mean
        return model.likelihood(params, z, example.context).mean

    return jaxvae.map_examples(one, rows, batch_size=50)


def evaluate(
    config: Config, model: jaxvae.LatentVariableModel, params: Any, series: Splits
) -> tuple[dict[str, Any], np.ndarray]:
    """Errors and bounds of all seeds, and the means of the first seed."""
    length, running = len(series.times), config.running
    examples = jax.jit(jax.vmap(partial(example_of, length)))(series.test)
    target, mask = np.asarray(examples.target), np.asarray(examples.context.mask)
    means = jax.jit(partial(predict, model, length=length))
    loss = partial(objectives.elbo, model)
    members = training.members_of(params, running.seeds)
    keys = jax.random.split(jax.random.key(running.seed), running.seeds)
    found = [np.asarray(means(own, series.test)) for own in members]
    bounds = [
        metrics.evaluate(loss, own, examples, key=key).mean.bound
        for own, key in zip(members, keys, strict=True)
    ]
    values, known = np.asarray(series.train.values), np.asarray(series.train.mask)
    average = np.sum(values, axis=(0, 1), where=known) / np.maximum(known.sum((0, 1)), 1)
    return {
        "test_mse": np.array([np.mean((own - target)[mask] ** 2) for own in found]),
        "test_mse_published": np.array([published_mse(own, target, mask) for own in found]),
        "test_elbo_nats": np.array(bounds),
        "test_mse_of_channel_means": np.mean((average - target)[mask] ** 2),
    }, found[0]


def published_mse(means: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean over series and channels of the error of each; 0 where nothing was measured.

    Reference: the program of Rubanova et al., ``compute_masked_likelihood`` with ``mse``.
    """
    counts = np.maximum(mask.sum(1), 1)
    return np.mean(np.sum((means - target) ** 2, axis=1, where=mask) / counts)


def draw(problem: Problem, series: Splits, means: np.ndarray) -> Any:
    """Six periodic test series, or the six most often measured variables of the first record."""
    test, length = series.test, len(series.times)
    some = jax.tree.map(lambda x: x[:PANELS], test)
    examples = jax.vmap(partial(example_of, length))(some)
    shown = np.where(examples.context.mask, examples.target, np.nan)
    if problem.dataset == "periodic":
        grid = np.array(series.times, np.float32)
        seen = np.stack([np.isin(grid, np.asarray(own)) for own in some.observed.times])
        return plotting.interpolations(
            grid,
            shown[..., 0],
            means[:PANELS, :, 0],
            seen=seen,
            titles=[f"test series {number}" for number in range(len(seen))],
        )
    often = np.argsort(-np.isfinite(shown[0]).sum(0))[:PANELS]
    return plotting.interpolations(
        48 * np.array(series.times),
        shown[0].T[often],
        means[0].T[often],
        seen=np.isfinite(shown[0].T[often]),
        titles=[list(data.PHYSIONET_UNITS)[channel] for channel in often],
        label="hours",
    )


def main(config: Config) -> dict[str, Any]:
    """Train, measure, draw and save; returns the metrics."""
    check(config)
    running = config.running
    series = load(config.problem, running)
    model = build(config.model, series)
    with open_run("interpolation", config) as run:
        result = fit(config, model, series, run)
        found, means = evaluate(config, model, result.params, series)
        report = run.save_metrics(
            {
                **header("interpolation", config.problem.dataset, running),
                **found,
                **training.training_metrics(result, run.history()),
            }
        )
        run.save_figure("elbo", plotting.elbo_curve(run.history()))
        run.save_figure("interpolations", draw(config.problem, series, means))
    print(training.format_metrics(report))
    print(f"\nPictures, metrics and checkpoints: {run.directory}")
    return report


if __name__ == "__main__":
    training.command_line(main, Config)
