"""Bi-directional spirals forecast by a latent ODE: Chen et al. (2018), table 2 and figure 6.

Windows of 100 points of two long spirals, of which 30, 50 or 100 are observed with noise of 0.3,
are continued by 100 points, and led back by 100, by the latent ODE and by two recurrent networks,
one of which is told the times:

    python -m experiments.latent_ode --seeds 5

The error is the root mean square over both coordinates of the 100 points after a window, or before
it where the curve ends too early, against the clean curve and against points with fresh noise.

Which windows are tested on decides what the error means:

- between: three blocks of 20 starts are held out, with a gap of 20 on each side. Every part of the
  curves is in some training window; of a test window 79 points at most, with other noise.
- apart: one block, with a gap of 99, so that no point of a test window is in a training window, and
  up to 19 of the 100 points after it are in none either.
- beyond: nothing at or after a test window was trained on.
- shared: all starts are trained and tested on, each series with its own noise, as in the paper.

Each model has a folder inside the run's, as a run with all seeds; each seed has its own series and
parameters. ``--resume`` skips what is finished.
"""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvae
from experiments import spiral_scores
from experiments.options import check_positive, check_running
from experiments.spiral_forecasters import FORECASTERS, WINDOW, Forecaster
from experiments.spiral_presets import PRESETS, Setting
from jaxvae import data, training

ModelName = Literal["latent_ode", "rnn", "rnn_with_gaps"]


@dataclass(frozen=True)
class Problem:
    """The series, and which of them are tested on."""

    points: tuple[int, ...] = (30, 50, 100)
    """Observed points of a window, a column of the table each."""
    split: Literal["between", "apart", "beyond", "shared"] = "between"
    """Which starts are held out."""
    series: int = 1000
    """Training series."""
    test_series: int = 500
    """Test series."""
    noise: float = 0.3
    """Standard deviation of the noise."""


@dataclass(frozen=True)
class Training:
    """The models and how they are trained."""

    models: tuple[ModelName, ...] = ("latent_ode", "rnn", "rnn_with_gaps")
    """Rows of the table."""
    preset: Literal["best", "paper"] = "best"
    """Sizes and optimiser of the paper, or the best that were found."""
    steps: int | None = None
    """Steps of the optimiser; by default those of the preset."""


@dataclass(frozen=True)
class Running:
    """Where the run is kept, and how often it is repeated."""

    out: str | None = None
    """Folder of the run; runs/latent_ode/TIME by default."""
    resume: bool = False
    """Continue the interrupted run in --out; its other options must be the same."""
    overwrite: bool = False
    """Replace the run that is already in --out."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """Number of seeds, each with series of its own, in one compiled run."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    problem: Problem = field(default_factory=Problem)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    problem, options = config.problem, config.training
    check_positive(problem, ("series", "test_series", "noise"))
    check_positive(options, ("steps",))
    check_positive(config.running, ("seeds",))
    check_running(config.running)
    for flag, names in (("--points", problem.points), ("--models", options.models)):
        if not names or len(set(names)) < len(names):
            raise ValueError(f"{flag} expected one or more, each once, got {list(names)}")
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

    keys = jax.vmap(jax.random.key)(running.seed + jnp.arange(running.seeds))
    parts = []
    for number, (count, allowed) in enumerate(
        ((problem.series, starts.train), (problem.test_series, starts.test)), 1
    ):
        own = jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys)
        draw = jax.vmap(lambda key, c=count, a=allowed: of_seed(key, c, a), out_axes=1)
        parts.append(jax.jit(draw)(own))
    return parts[0], parts[1]


def setting_of(options: Training) -> Setting:
    """The preset, with the steps that were asked for."""
    preset = PRESETS[options.preset]
    return dataclasses.replace(preset, steps=options.steps or preset.steps)


def fit(
    setting: Setting, forecaster: Forecaster, train: data.Spirals, run: training.Run, seeds: range
) -> training.Fit:
    """All seeds in one compiled run."""
    rate: Any = setting.learning_rate
    if setting.decay:
        rate = optax.cosine_decay_schedule(setting.learning_rate, setting.steps)
    return jaxvae.fit(
        forecaster.loss,
        forecaster.init,
        train.observed,
        key=jax.vmap(jax.random.key)(jnp.asarray(seeds)),
        num_steps=setting.steps,
        batch_size=min(setting.batch_size, len(train.starts)),
        hyperparameters=jnp.arange(len(seeds)),
        settings=lambda step, seed: seed,
        optimiser=optax.adam(rate),
        log_every=min(20, setting.steps),
        run=run,
    )


def learn(config: Config, name: str, points: int, header: dict[str, Any]) -> dict[str, Any]:
    """Train and measure one model on one number of points; returns its metrics."""
    running, setting = config.running, setting_of(config.training)
    folder = Path(str(running.out)) / f"{name}_{points}"
    if running.resume and (folder / "metrics.json").exists():
        return json.loads((folder / "metrics.json").read_text())
    print(f"{name}, {points} points:")
    train, test = draw_series(config.problem, points, running)
    forecaster = FORECASTERS[name](setting)
    seeds = range(running.seed, running.seed + running.seeds)
    with training.open_run(
        folder,
        config,
        members=running.seeds,
        resume=running.resume and folder.exists(),
        overwrite=running.overwrite,
        may_change=("out", "resume", "overwrite"),
    ) as run:
        result = fit(setting, forecaster, train, run, seeds)
        forecasts = spiral_scores.forecasts(forecaster, result.params, test)
        spiral_scores.save_drawn(folder, forecaster, result.params, test, forecasts)
        return run.save_metrics(
            {
                **header,
                "model": name,
                "points": points,
                **spiral_scores.errors(test, forecasts, config.problem.noise, running.seed),
                **spiral_scores.bounds(forecaster, result.params, test, running.seed),
                **training.training_metrics(result, run.history()),
            }
        )


def main(config: Config) -> dict[str, Any]:
    """Train all models on all numbers of points, compare, draw and save; returns the metrics."""
    check(config)
    problem, running = config.problem, config.running
    out = running.out or f"runs/latent_ode/{time.strftime('%Y%m%d-%H%M%S')}"
    running = dataclasses.replace(running, out=str(out))
    config = dataclasses.replace(config, running=running)
    header = {
        "experiment": "latent_ode",
        "dataset": "simulated",
        **({"seed": running.seed} if running.seeds == 1 else {"seeds": running.seeds}),
        "split": problem.split,
        "preset": config.training.preset,
    }
    with training.open_run(
        out,
        config,
        resume=running.resume,
        overwrite=running.overwrite,
        may_change=("out", "resume", "overwrite"),
    ) as run:
        done = {
            (name, points): learn(config, name, points, header)
            for points in problem.points
            for name in config.training.models
        }
        report = run.save_metrics({**header, **spiral_scores.table(done)})
        for label, figure in spiral_scores.pictures(run.directory, done).items():
            run.save_figure(label, figure)
    print(training.format_metrics(report))
    print(f"\nPictures, metrics and a folder for each model: {run.directory}")
    return report


if __name__ == "__main__":
    training.command_line(main, Config)
