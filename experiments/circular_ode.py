"""Circular dynamics learnt through a solver: the Bath report, section 5.1.1, figures 15 and 16.

An affine vector field of six parameters is learnt from the states of (x, y)' = (-y, x) at 12,800
stop times, by differentiating the classic Runge-Kutta method (RK4) step by step:

    python -m experiments.circular_ode

The objective is the log-density of the true state under a Normal of unit variance around the state
that RK4 reaches, which is minus half the squared error of the report up to a constant. As all rows
start from the same state, a batch needs one solve over whole steps and a shorter last step for each
row. The data have no noise, so that with a learning rate that falls to 0 only the rounding of
float32 remains.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxvae
from experiments.shared.options import Running, check_positive, check_running
from experiments.shared.runs import data_keys, header, open_run, seed_keys
from jaxvae import data, nn, ode, plotting, training
from jaxvae.distributions import Normal


@dataclass(frozen=True)
class Problem:
    """The data, and how the equation is solved."""

    stops: int = 12_800
    """Number of stop times in the training data."""
    test_stops: int = 1000
    """Number of other stop times, for the test error."""
    step: float = 0.01
    """Step of the Runge-Kutta method."""


@dataclass(frozen=True)
class Training:
    """Adam with b2 = 0.95 and a cosine decay of the learning rate to 0."""

    epochs: int = 4
    """Passes over the stop times."""
    batch_size: int = 64
    """Stop times in a step."""
    learning_rate: float = 0.1
    """Learning rate at the beginning."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    problem: Problem = field(default_factory=Problem)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)


NETWORK = nn.affine(2)
ENTRIES = ("A_xx", "A_xy", "A_yx", "A_yy", "b_x", "b_y")


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    check_positive(config.problem, "stops", "test_stops", "step")
    check_positive(config.training, "epochs", "batch_size", "learning_rate")
    check_running(config.running)
    if config.problem.step > 1:
        raise ValueError(
            f"--step expected at most 1, got {config.problem.step}; a turn takes {2 * math.pi:.2f}"
        )
    training.steps_per_epoch(config.problem.stops, config.training.batch_size)


def state_at(step: float, params: Any, stop: Array) -> Array:
    """The state at one stop time, which RK4 reaches from (1, 0) by whole steps and a shorter one.

    The whole steps do not depend on the stop time, so that ``jax.vmap`` over stop times takes them
    only once.
    """
    number = math.ceil(2 * math.pi / step)
    grid = step * jnp.arange(number + 1, dtype=stop.dtype)
    steps = ode.Integrator(
        ode.RK4(), ode.StepTo(grid), adjoint=ode.Checkpointed(number), max_steps=number
    )
    start = jnp.array([1.0, 0.0], stop.dtype)
    velocity = nn.autonomous(NETWORK)
    whole = ode.solve(velocity, params, start, grid, integrator=steps).values
    last = jnp.searchsorted(grid, stop, side="right") - 1
    # By rounding, what remains of a step can be longer than the step, hence up to two steps.
    rest = ode.fixed_steps(step, adjoint=ode.Checkpointed(2), max_steps=2)
    return ode.solve(
        velocity, params, whole[last], stop[None], t0=grid[last], integrator=rest
    ).values[0]


def log_likelihood(
    step: float, params: Any, example: jaxvae.Example, *, key, settings
) -> jaxvae.Estimate:
    """Log-density of one true state: Normal with unit variance around the state that RK4 reaches.

    Args:
        step: of the Runge-Kutta method.
        params: of the vector field.
        example: stop times (seeds,) and states (seeds, 2) of one row.
        key: unused.
        settings: the number of the seed.
    """
    del key
    stop, state = example.target.times[settings], example.target.states[settings]
    reached = state_at(step, params, stop)
    density = Normal(reached, jnp.zeros_like(reached)).log_prob(state)
    return jaxvae.Estimate(density, density, {"squared_error": jnp.sum((reached - state) ** 2)})


def fit(config: Config, keys: Array, run: training.Run) -> training.Fit:
    """Train all seeds in one compiled run; each has its own stop times."""
    options = config.training
    steps = options.epochs * training.steps_per_epoch(config.problem.stops, options.batch_size)
    fit_keys, stop_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    rows = jax.vmap(lambda key: data.circular(config.problem.stops, key=key), out_axes=1)
    schedule = optax.cosine_decay_schedule(options.learning_rate, steps)
    return jaxvae.fit(
        partial(log_likelihood, config.problem.step),
        NETWORK.init,
        rows(stop_keys),
        key=fit_keys,
        num_steps=steps,
        batch_size=options.batch_size,
        hyperparameters=jnp.arange(len(keys)),
        # The first errors are a million times the last ones, too large for a memory of b2 = 0.999.
        optimiser=optax.adam(schedule, b2=0.95),
        settings=lambda step, seed: seed,
        log_every=min(10, steps),
        run=run,
    )


def evaluate(config: Config, params: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Metrics with an entry for each seed, and the trajectory of the first seed."""
    test = data.circular(config.problem.test_stops, key=data_keys(config.running)[0])
    times = jnp.concatenate([test.times, drawn_times()])
    reach = jax.vmap(partial(state_at, config.problem.step), (None, 0))
    reached = np.asarray(jax.jit(jax.vmap(reach, (0, None)))(params, times), float)
    at_test = reached[:, : config.problem.test_stops]
    learnt = np.concatenate([params["A"].reshape(-1, 4), params["b"]], axis=1, dtype=float)
    return {
        "field_max_error": np.abs(learnt - np.array([0, -1, 1, 0, 0, 0])).max(axis=1),
        "test_mse": np.mean(np.sum((at_test - np.asarray(test.states)) ** 2, axis=2), axis=1),
        **dict(zip(ENTRIES, learnt.T, strict=True)),
    }, reached[0, config.problem.test_stops :]


def drawn_times() -> Array:
    """Times of the trajectory that figure 16 shows."""
    return jnp.linspace(0.0, 2 * math.pi, 200)


def format_field(params: Any, seed: int) -> str:
    """A, as it acts on column vectors, and b, of one seed."""
    (a, b), (c, d) = np.asarray(params["A"], float)
    x, y = np.asarray(params["b"], float)
    return f"seed {seed}: A = [[{a:.7f}, {b:.7f}], [{c:.7f}, {d:.7f}]], b = [{x:.7f}, {y:.7f}]"


def draw(history: list[dict[str, Any]], epochs: int, trajectory: np.ndarray) -> Any:
    """Figure 16."""
    times = np.asarray(drawn_times(), float)
    return plotting.trajectory_fit(
        np.stack([np.cos(times), np.sin(times)], axis=1),
        trajectory,
        np.array([record["step"] for record in history]) * epochs / history[-1]["step"],
        np.stack([np.atleast_1d(record["squared_error"]) for record in history]),
        labels=("epoch", "squared error of a batch, mean of 10"),
        title="Circular dynamics",
    )


def main(config: Config) -> dict[str, Any]:
    """Train, measure, draw and save; returns the metrics."""
    check(config)
    running = config.running
    keys = seed_keys(running)

    with open_run("circular_ode", config) as run:
        result = fit(config, keys, run)
        found, trajectory = evaluate(config, result.params)
        report = run.save_metrics(
            {
                **header("circular_ode", "simulated", running),
                **found,
                "field_largest_error_of_all_seeds": found["field_max_error"].max(),
                **training.training_metrics(result, run.history()),
            }
        )
        run.save_figure("figure_16", draw(run.history(), config.training.epochs, trajectory))
    print(training.format_metrics(report))
    print("\nThe vector field z' = A z + b, with A as it acts on column vectors:")
    for seed, params in enumerate(training.members_of(result.params, running.seeds), running.seed):
        print(format_field(params, seed))
    print(f"\nPictures, metrics and checkpoints: {run.directory}")
    return report


if __name__ == "__main__":
    training.command_line(main, Config)
