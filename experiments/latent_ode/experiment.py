"""Bi-directional spirals forecast by a latent ODE: Chen et al. (2018), table 2 and figure 6.

The data are windows of 100 points on two long spirals, of which 30, 50 or 100 are observed with
noise of standard deviation 0.3. Three models forecast the 100 points after a window and the 100
points before it: a latent ODE, an RNN, and an RNN with time gaps.

    python -m experiments.latent_ode --seeds 5

The error is the root mean square over both coordinates of the 100 points after a window, or before
it if the curve ends too early. It is measured against the noiseless curve and against points with
fresh noise.

Its meaning depends on the windows that are tested:

- between: three blocks of 20 starts are held out, with a gap of 20 on each side. Every part of the
  curves from the first start on lies in some training window, with other noise. A training window
  has at most 79 points in common with a test window.
- apart: one block of starts is held out, with a gap of 99, so that no point of a test window lies
  in a training window, nor do up to 19 of the 100 points after it.
- beyond: no training window has a point at or after the start of a test window.
- shared: training and test series have the same starts and different noise, as in the paper.

``--preset paper`` has the paper's sizes (25 tanh units, four latents, 20 units in the vector field
and the decoder, a start at the first point) and 2,000 full-batch steps of Adam at 0.01. The default
``--preset best`` is listed in ``experiments/latent_ode/forecaster.py``.

Every model has a folder of its own inside that of the run, with all seeds. Each seed has its own
series and parameters. ``--resume`` skips models that are finished.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvae
from experiments.latent_ode import scores
from experiments.latent_ode.forecaster import PRESETS, WINDOW, Forecaster, Setting
from experiments.latent_ode.ode_forecaster import latent_ode
from experiments.latent_ode.recurrent_forecaster import recurrent
from experiments.shared import comparison
from experiments.shared.options import Devices, Running, check_positive, check_running
from experiments.shared.runs import data_keys, header, mesh_of, open_run, seed_keys
from jaxvae import data, training

ModelName = Literal["latent_ode", "rnn", "rnn_with_gaps"]
FORECASTERS: dict[str, Callable[[Setting], Forecaster]] = {
    "latent_ode": latent_ode,
    "rnn": partial(recurrent, with_gaps=False),
    "rnn_with_gaps": partial(recurrent, with_gaps=True),
}


@dataclass(frozen=True)
class Problem:
    """The series, and which of their windows are tested."""

    points: tuple[int, ...] = (30, 50, 100)
    """Numbers of observed points of a window, a column of the table each."""
    split: Literal["between", "apart", "beyond", "shared"] = "between"
    """Which starts of windows are held out for the test."""
    series: int = 1000
    """Number of training series."""
    test_series: int = 500
    """Number of test series."""
    noise: float = 0.3
    """Standard deviation of the noise."""


@dataclass(frozen=True)
class Training:
    """The models and how they are trained."""

    models: tuple[ModelName, ...] = ("latent_ode", "rnn", "rnn_with_gaps")
    """Models to compare, a row of the table each."""
    preset: Literal["best", "paper"] = "best"
    """Sizes and optimiser: those of the paper, or the best that were found."""
    steps: int | None = None
    """Steps of the optimiser; by default the preset's."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    problem: Problem = field(default_factory=Problem)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)
    devices: Devices = field(default_factory=Devices)


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    problem, options = config.problem, config.training
    check_positive(problem, "series", "test_series", "noise")
    check_positive(options, "steps")
    check_running(config.running)
    comparison.check_names("--points", [str(points) for points in problem.points])
    comparison.check_names("--models", options.models)
    if not all(2 <= points <= WINDOW for points in problem.points):
        raise ValueError(f"--points expected 2 to {WINDOW}, got {list(problem.points)}")


def starts_of(split: str) -> data.Starts:
    """The starts of training and of test windows."""
    every = np.arange(100, 400)
    return {
        "between": data.starts_between(block=20, held_out=[2, 7, 12], gap=20),
        "apart": data.starts_between(block=20, held_out=[7]),
        "beyond": data.starts_beyond(last=300, block=20),
        "shared": data.Starts(every, every),
    }[split]


def draw_series(
    problem: Problem, points: int, running: Running
) -> tuple[data.Spirals, data.Spirals]:
    """Training and test series with axes (series, seed)."""
    starts = starts_of(problem.split)

    def of_seed(seed, count, allowed):
        return data.spirals(count, key=seed, starts=allowed, points=points, noise=problem.noise)

    train_keys, test_keys = jax.vmap(jax.random.split, out_axes=1)(data_keys(running))
    train = jax.vmap(lambda key: of_seed(key, problem.series, starts.train), out_axes=1)
    test = jax.vmap(lambda key: of_seed(key, problem.test_series, starts.test), out_axes=1)
    return jax.jit(train)(train_keys), jax.jit(test)(test_keys)


def setting_of(options: Training) -> Setting:
    """The preset, with --steps if they are given."""
    preset = PRESETS[options.preset]
    return dataclasses.replace(preset, steps=options.steps or preset.steps)


def fit(
    setting: Setting,
    forecaster: Forecaster,
    train: data.Spirals,
    run: training.Run,
    running: Running,
    devices: Devices,
) -> training.Fit:
    """Train all seeds in one compiled run; on a CPU one by one, where batched products are slow."""
    on_cpu = jax.default_backend() == "cpu"
    rate: Any = setting.learning_rate
    if setting.decay:
        rate = optax.cosine_decay_schedule(setting.learning_rate, setting.steps)
    return jaxvae.fit(
        forecaster.loss,
        forecaster.init,
        train.observed,
        key=seed_keys(running),
        num_steps=setting.steps,
        batch_size=min(setting.batch_size, len(train.starts)),
        hyperparameters=jnp.arange(running.seeds),
        settings=lambda step, seed: seed,
        optimiser=optax.adam(rate),
        log_every=min(20, setting.steps),
        run=run,
        members=training.one_by_one if on_cpu else training.vectorised,
        mesh=mesh_of(devices, running.seeds),
    )


def learn(config: Config, name: str, points: int, running: Running) -> dict[str, Any]:
    """Train and evaluate one model with one number of points; returns its metrics."""
    config = dataclasses.replace(config, running=running)
    setting = setting_of(config.training)
    train, test = draw_series(config.problem, points, running)
    forecaster = FORECASTERS[name](setting)
    with open_run("latent_ode", config) as run:
        result = fit(setting, forecaster, train, run, running, config.devices)
        found = scores.forecasts(forecaster, result.params, test, running.seed)
        truth, noise = scores.truth_about(test), config.problem.noise
        scores.save_drawn(run.directory, forecaster, result.params, test, truth, found)
        return run.save_metrics(
            {
                **beginning(config),
                "model": name,
                "points": points,
                **scores.errors(truth, np.asarray(found.mean), noise, running.seed),
                **scores.exact(test, truth, noise),
                **scores.bounds(forecaster, result.params, test, running.seed),
                **training.training_metrics(result, run.history()),
            }
        )


def beginning(config: Config) -> dict[str, Any]:
    """The first entries of every metrics.json of the experiment."""
    return {
        **header("latent_ode", "simulated", config.running),
        "split": config.problem.split,
        "preset": config.training.preset,
    }


def main(config: Config) -> dict[str, Any]:
    """Train all models on all numbers of points, compare, draw and save; returns the metrics."""
    check(config)
    models = {
        f"{name}_{points}": (name, points)
        for points in config.problem.points
        for name in config.training.models
    }
    return comparison.compare(
        "latent_ode",
        config,
        tuple(models),
        beginning(config),
        lambda label, running: learn(config, *models[label], running),
        measures=scores.MEASURES,
        pictures=scores.pictures,
    )
