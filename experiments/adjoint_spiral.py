"""A linear spiral learnt with the adjoint method: the Bath report, section 5.2, figure 17.

A perceptron is learnt as the field of x' = W x with W = [[-0.1, 1], [-0.2, -0.1]] from 200 points
in [0, 25], in 1,000 steps with the adjoint method (Backsolve); then the same with every other way
to differentiate a solution, side by side:

    python -m experiments.adjoint_spiral

A step fits fragments of 20 consecutive points, each solved from its first point, as programs of
this kind do: a fresh field soon leaves a trajectory of two turns, and the gradient of the whole
says little about its beginning. ``trajectory_mse`` in metrics.json is the mean squared distance
along the whole trajectory, solved from its first point alone; errors of gradients are those of
``ode.gradient_check`` along it, with the parameters that the first seed has learnt.

Times and memory are those of this machine in this run, one training after another: an indication,
where benchmarks measure in turns. Reversible takes a fixed step between two points, all others
adapt theirs to the tolerance. ForwardMode carries a tangent for each parameter, where
``jaxvae.fit`` asks for gradients backwards: they are taken forwards first, and handed over.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

import jaxvae
from experiments import candidates, spiral_fields
from experiments.running import (
    Running,
    check_positive,
    check_running,
    header,
    open_run,
    seed_keys,
)
from experiments.spiral_fields import Problem
from jaxvae import data, plotting, training

Adjoint = Literal[
    "backsolve", "backsolve_seminorm", "checkpointed", "direct", "reversible", "forward_mode"
]


@dataclass(frozen=True)
class Training:
    """Adam with a cosine decay of the learning rate to 0."""

    adjoints: tuple[Adjoint, ...] = get_args(Adjoint)
    """Which are compared; the first is that of figure 17."""
    steps: int = 1000
    """Steps of each training."""
    fragment: int = 20
    """Points of a fragment."""
    batch_size: int = 20
    """Fragments in a step."""
    learning_rate: float = 1e-2
    """At its highest."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    problem: Problem = field(default_factory=Problem)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)


MEASURES = {
    "step_ms": "time of a step (ms)",
    "compile_s": "compilation (s)",
    "temp_mb": "temporary memory (MiB)",
    "gradient_error": "relative error of gradients",
    "trajectory_mse": "mean squared distance",
}


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    problem, options = config.problem, config.training
    check_running(config.running)
    for group in (problem, options):
        numbers = [name for name, value in vars(group).items() if isinstance(value, int | float)]
        check_positive(group, *numbers)
    candidates.check("--adjoints", options.adjoints)
    if not 2 <= options.fragment <= problem.points:
        raise ValueError(
            f"--fragment expected 2 to --points ({problem.points}), got {options.fragment}"
        )
    training.steps_per_epoch(problem.points - options.fragment + 1, options.batch_size)
    for name in options.adjoints:
        spiral_fields.integrator(problem, name)


def learn(config: Config, name: str, truth: Array, running: Running) -> dict[str, Any]:
    """Train with one adjoint, in a folder of its own; returns its metrics."""
    config = dataclasses.replace(config, running=running)
    with open_run("adjoint_spiral", config) as run:
        result = fit(config, name, truth, run)
        figures, path = evaluate(config.problem, name, truth, result.params)
        measured = training.training_metrics(result, run.history())
        report = run.save_metrics(
            {
                **header("adjoint_spiral", "simulated", running),
                "adjoint": name,
                "step_ms": 1000 / measured["steps_per_second"],
                "compile_s": result.compile_seconds,
                "temp_mb": result.memory_bytes["temp"] / 2**20,
                **figures,
                **measured,
            }
        )
        run.save_figure("trajectory", draw(truth, path, run.history(), name))
    return report


def fit(config: Config, name: str, truth: Array, run: training.Run) -> training.Fit:
    """All seeds in one compiled run; a row is a fragment, and any point may be its first."""
    options = config.training
    starts = jnp.arange(len(truth) - options.fragment + 1)
    return jaxvae.fit(
        partial(spiral_fields.log_likelihood, config.problem, name),
        spiral_fields.network(config.problem).init,
        truth[starts[:, None] + jnp.arange(options.fragment)[None]],
        key=seed_keys(config.running),
        num_steps=options.steps,
        batch_size=options.batch_size,
        optimiser=optax.adam(optax.cosine_decay_schedule(options.learning_rate, options.steps)),
        log_every=min(20, options.steps),
        run=run,
    )


def evaluate(
    problem: Problem, name: str, truth: Array, params: Any
) -> tuple[dict[str, Any], np.ndarray]:
    """Errors of the whole trajectories and of gradients, and the first seed's trajectory."""
    paths = spiral_fields.whole_trajectories(problem, params, truth[0])
    first = jax.tree.map(lambda leaf: leaf[0], params)
    found = spiral_fields.check_gradients(problem, name, first, truth[0])
    print(f"{found.message}\n")
    return {
        "gradient_error": max(found.errors.values()),
        "trajectory_mse": np.mean(np.sum((paths - np.asarray(truth)) ** 2, axis=2), axis=1),
    }, paths[0]


def draw(truth: Array, path: np.ndarray, history: list[dict[str, Any]], name: str) -> Any:
    """Figure 17 for one adjoint."""
    return plotting.trajectory_fit(
        truth,
        path,
        [line["step"] for line in history],
        np.stack([np.atleast_1d(line["squared_error"]) for line in history]),
        labels=("step", "mean squared error of fragments"),
        title=f"Linear spiral, {name.replace('_', ' ')}",
    )


def comparison(options: Training, done: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    """All measures, an adjoint each row."""
    panels = {label: [own[key] for own in done.values()] for key, label in MEASURES.items()}
    title = f"Linear spiral, {options.steps} steps with each adjoint"
    return {"adjoints": plotting.dot_panels(options.adjoints, panels, title=title)}


def main(config: Config) -> dict[str, Any]:
    """Train with each adjoint, compare, draw and save; returns the metrics."""
    check(config)
    times = spiral_fields.trajectory_times(config.problem)
    truth = jnp.asarray(data.linear_spiral(times).values)
    return candidates.compare(
        "adjoint_spiral",
        config,
        config.training.adjoints,
        header("adjoint_spiral", "simulated", config.running),
        lambda name, running: learn(config, name, truth, running),
        measures=tuple(MEASURES),
        pictures=lambda folder, done: comparison(config.training, done),
    )


if __name__ == "__main__":
    training.command_line(main, Config)
