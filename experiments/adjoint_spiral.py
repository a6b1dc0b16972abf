"""A linear spiral learnt with the adjoint method: the Bath report, section 5.2, figure 17.

A perceptron learns the vector field of x' = W x with W = [[-0.1, 1], [-0.2, -0.1]] from 200 points
in [0, 25], in 1,000 steps with the adjoint method (Backsolve). Every other way to differentiate a
solution is then compared with it:

    python -m experiments.adjoint_spiral

A step fits fragments of 20 consecutive points, and each fragment is solved from its first point.
An untrained field soon leaves a trajectory of two turns, and then the gradient of the whole
trajectory says little about its beginning. ``trajectory_mse`` in metrics.json is the mean squared
distance along the whole trajectory, solved from its first point alone. Errors of gradients are
those of ``ode.gradient_check`` along it, at the parameters that the first seed has learnt.

Times and memory are only an indication, as the methods are trained one after another; use
``benchmarks.adjoints`` for a comparison. Reversible takes one fixed step between two points, and
all other methods adapt their steps to the tolerance. ForwardMode computes the gradient in forward
mode and passes it to ``jaxvae.fit``, which differentiates in reverse mode.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from matplotlib.figure import Figure

import jaxvae
from experiments.shared import comparison
from experiments.shared.options import Running, check_positive, check_running
from experiments.shared.runs import header, open_run, seed_keys
from jaxvae import data, nn, ode, plotting, training
from jaxvae.distributions import Normal
from jaxvae.model import EXAMPLES

Adjoint = Literal[
    "backsolve", "backsolve_seminorm", "checkpointed", "direct", "reversible", "forward_mode"
]


@dataclass(frozen=True)
class Problem:
    """The data, the vector field, and how the equation is solved."""

    points: int = 200
    """Number of points of the trajectory."""
    span: float = 25.0
    """Time of the last point."""
    hidden: int = 20
    """Units of the one hidden layer of the vector field, with tanh."""
    tolerance: float = 1e-5
    """Relative tolerance of adaptive steps; the absolute one is a hundredth of it."""
    max_steps: int = 256
    """Adaptive steps after which a solve has failed."""


@dataclass(frozen=True)
class Training:
    """Adam with a cosine decay of the learning rate to 0."""

    adjoints: tuple[Adjoint, ...] = get_args(Adjoint)
    """Methods to compare; the first is that of figure 17."""
    steps: int = 1000
    """Training steps with each method."""
    fragment: int = 20
    """Number of points of a fragment."""
    batch_size: int = 20
    """Fragments in a step."""
    learning_rate: float = 1e-2
    """Learning rate at the beginning."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    problem: Problem = field(default_factory=Problem)
    training: Training = field(default_factory=Training)
    running: Running = field(default_factory=Running)


ADJOINTS: dict[str, Any] = {
    "backsolve": ode.Backsolve(),
    "backsolve_seminorm": ode.Backsolve(seminorm=True),
    "checkpointed": ode.Checkpointed(),
    "direct": ode.Direct(),
    "reversible": ode.Reversible(),
    "forward_mode": ode.ForwardMode(),
}
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
    comparison.check_names("--adjoints", options.adjoints)
    if not 2 <= options.fragment <= problem.points:
        raise ValueError(
            f"--fragment expected 2 to --points ({problem.points}), got {options.fragment}"
        )
    training.steps_per_epoch(problem.points - options.fragment + 1, options.batch_size)
    for name in options.adjoints:
        integrator(problem, name)


def integrator(problem: Problem, name: str) -> ode.Integrator:
    """Adaptive steps; for the reversible adjoint one fixed step between two points."""
    adjoint, tolerance = ADJOINTS[name], problem.tolerance
    if name == "reversible":
        # A little more than the spacing, so that rounding adds no second step.
        step = 1.001 * problem.span / (problem.points - 1)
        most = problem.points
        return ode.fixed_steps(step, solver=ode.Tsit5(), adjoint=adjoint, max_steps=most)
    most = problem.max_steps
    return ode.adaptive(tolerance, 0.01 * tolerance, adjoint=adjoint, max_steps=most)


@cache
def network(problem: Problem) -> nn.Network:
    """The perceptron that learns the vector field.

    The same object for equal problems, so that the reference of gradients is compiled only once.
    """
    return nn.mlp((2,), (2,), hidden=(problem.hidden,), activation=nn.tanh)


def log_likelihood(
    problem: Problem, name: str, params: Any, example: jaxvae.Example, *, key, settings=None
) -> jaxvae.Estimate:
    """Log-density of one fragment: Normal with unit variance around the solution.

    Args:
        problem: the vector field and its solver.
        name: of the adjoint.
        params: of the vector field.
        example: one fragment (point, 2), solved from its first point; all fragments of a batch have
            the same times and are solved together.
        key: unused.
        settings: unused.
    """
    del key, settings
    states = example.target
    times = problem.span / (problem.points - 1) * jnp.arange(len(states), dtype=states.dtype)

    def density(params):
        values = ode.solve_together(
            nn.autonomous(network(problem)),
            params,
            states[0],
            times,
            axis_name=EXAMPLES,
            integrator=integrator(problem, name),
        ).values
        error = jnp.mean(jnp.sum((values - states) ** 2, axis=1))
        return Normal(values, jnp.zeros_like(values)).log_prob(states), error

    if name == "forward_mode":
        density = partial(forwards, density)
    value, error = density(params)
    return jaxvae.Estimate(value, value, {"squared_error": lax.stop_gradient(error)})


def forwards(function: Any, params: Any) -> tuple[Array, Array]:
    """The value of a function, with its gradient computed in forward mode.

    The result can be differentiated in reverse mode: it is linear in the parameters, with the
    gradient as its slope.
    """
    fixed = lax.stop_gradient(params)

    def twice(params):
        value, error = function(params)
        return value, (value, error)

    slope, (value, error) = jax.jacfwd(twice, has_aux=True)(fixed)
    moved = jax.tree.map(jnp.subtract, params, fixed)
    return value + optax.tree.vdot(slope, moved), error


def learn(config: Config, name: str, truth: Array, running: Running) -> dict[str, Any]:
    """Train with one adjoint, in a folder of its own; returns its metrics."""
    config = dataclasses.replace(config, running=running)
    with open_run("adjoint_spiral", config) as run:
        result = fit(config, name, truth, run)
        found, path = evaluate(config.problem, name, truth, result.params)
        measured = training.training_metrics(result, run.history())
        report = run.save_metrics(
            {
                **header("adjoint_spiral", "simulated", running),
                "adjoint": name,
                "step_ms": 1000 / measured["steps_per_second"],
                "compile_s": result.compile_seconds,
                "temp_mb": result.memory_bytes["temp"] / 2**20,
                **found,
                **measured,
            }
        )
        run.save_figure("trajectory", draw(truth, path, run.history(), name))
    return report


def fit(config: Config, name: str, truth: Array, run: training.Run) -> training.Fit:
    """Train all seeds in one compiled run; rows are all fragments of consecutive points."""
    options = config.training
    starts = jnp.arange(len(truth) - options.fragment + 1)
    return jaxvae.fit(
        partial(log_likelihood, config.problem, name),
        network(config.problem).init,
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
    """Errors of the trajectories and of the gradients, and the first seed's trajectory."""
    paths = whole_trajectories(problem, params, truth[0])
    first = jax.tree.map(lambda leaf: leaf[0], params)
    found = check_gradients(problem, name, first, truth[0])
    print(f"{found.message}\n")
    return {
        "gradient_error": max(found.errors.values()),
        "trajectory_mse": np.mean(np.sum((paths - np.asarray(truth)) ** 2, axis=2), axis=1),
    }, paths[0]


def trajectory_times(problem: Problem) -> Array:
    """Times of the points."""
    return jnp.linspace(0.0, problem.span, problem.points)


def whole_trajectories(problem: Problem, params: Any, start: Array) -> np.ndarray:
    """Solutions (seeds, time, 2) from the first point, with smaller tolerances than in training."""
    precise = ode.adaptive(1e-6, 1e-8, max_steps=16 * problem.max_steps)
    velocity, times = nn.autonomous(network(problem)), trajectory_times(problem)

    def path(params):
        return ode.solve(velocity, params, start, times, integrator=precise).values

    return np.asarray(jax.jit(jax.vmap(path))(params), float)


def check_gradients(problem: Problem, name: str, params: Any, start: Array) -> ode.GradientCheck:
    """Check the gradients of the training's solver and adjoint along the whole trajectory."""
    velocity, times = nn.autonomous(network(problem)), trajectory_times(problem)
    return ode.gradient_check(integrator(problem, name), velocity, params, start, times)


def draw(truth: Array, path: np.ndarray, history: list[dict[str, Any]], name: str) -> Any:
    """Figure 17, for one adjoint."""
    return plotting.trajectory_fit(
        truth,
        path,
        [record["step"] for record in history],
        np.stack([np.atleast_1d(record["squared_error"]) for record in history]),
        labels=("step", "mean squared error of fragments"),
        title=f"Linear spiral, {name.replace('_', ' ')}",
    )


def comparison_figures(options: Training, done: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    """All measures, with a row for each adjoint."""
    panels = {label: [own[key] for own in done.values()] for key, label in MEASURES.items()}
    title = f"Linear spiral, {options.steps} steps with each adjoint"
    return {"adjoints": plotting.dot_panels(options.adjoints, panels, title=title)}


def main(config: Config) -> dict[str, Any]:
    """Train with each adjoint, compare, draw and save; returns the metrics."""
    check(config)
    times = trajectory_times(config.problem)
    truth = jnp.asarray(data.linear_spiral(times).values)
    return comparison.compare(
        "adjoint_spiral",
        config,
        config.training.adjoints,
        header("adjoint_spiral", "simulated", config.running),
        lambda name, running: learn(config, name, truth, running),
        measures=tuple(MEASURES),
        pictures=lambda folder, done: comparison_figures(config.training, done),
    )


if __name__ == "__main__":
    training.command_line(main, Config)
