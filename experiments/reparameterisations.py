"""Every reparameterisable family, and two estimators of its gradients: the Bath report, 4.2.5.

Samples through the transformation of noise against the density, and the gradient of an expectation
with respect to one parameter by the pathwise and by the score-function estimator beside its closed
form. Where the parameter moves the support, the score function has a bias, which is shown:

    python -m experiments.reparameterisations
"""

import re
import time
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from scipy import stats
from tqdm.auto import tqdm

from experiments.families import FAMILIES, Case
from jaxvae import plotting, training


@dataclass(frozen=True)
class Sampling:
    """How much is drawn."""

    samples: int = 100_000
    """Samples of each family, for the picture, the test and both gradients."""


@dataclass(frozen=True)
class Running:
    """Where the run is kept, and how often it is repeated."""

    out: str | None = None
    """Folder of the run; runs/reparameterisations/TIME by default."""
    overwrite: bool = False
    """Replace the run that is already in --out."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """Number of seeds."""


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    sampling: Sampling = field(default_factory=Sampling)
    running: Running = field(default_factory=Running)


class Draws(NamedTuple):
    """What one sample gives, or many.

    Attributes:
        value: the coordinate that is shown.
        uniform: its distribution function there.
        pathwise: derivative of f(g(parameter, noise)).
        score: f(x) times the derivative of log q(x).
    """

    value: Array
    uniform: Array
    pathwise: Array
    score: Array


class Measured(NamedTuple):
    """Of one family.

    Attributes:
        p_value: of the Kolmogorov-Smirnov test of the samples.
        exact: the gradient in closed form.
        mean: of the two estimators, pathwise first.
        error: their standard errors.
    """

    p_value: float
    exact: float
    mean: tuple[float, float]
    error: tuple[float, float]


@partial(jax.jit, static_argnums=(0, 2))
def draw(case: Case, key: Array, number: int) -> Draws:
    """Independent samples with both estimates of the gradient from each."""

    def one(key):
        def pathwise(parameter):
            event = case.make(parameter).sample(key)
            return case.function(event), event

        def score(parameter, event):
            return case.function(event) * case.make(parameter).log_prob(event)

        parameter = jnp.asarray(case.at)
        derivative, event = jax.grad(pathwise, has_aux=True)(parameter)
        event = lax.stop_gradient(event)
        value = case.coordinate(event)
        uniform = (case.cdf or case.law(parameter).cdf)(value)
        return Draws(value, uniform, derivative, jax.grad(score)(parameter, event))

    return jax.vmap(one)(jax.random.split(key, number))


def measure(case: Case, draws: Draws) -> Measured:
    """Test the samples, and average the gradients in double precision."""
    parameter = jnp.asarray(case.at)
    gradients = np.stack([np.asarray(draws.pathwise, float), np.asarray(draws.score, float)])
    errors = gradients.std(axis=1, ddof=1) / np.sqrt(gradients.shape[1])
    return Measured(
        p_value=float(stats.kstest(np.asarray(draws.uniform, float), "uniform").pvalue),
        exact=float(jax.grad(case.expectation)(parameter)),
        mean=tuple(gradients.mean(axis=1)),
        error=tuple(errors),
    )


def report_of(case: Case, found: list[Measured]) -> dict[str, Any]:
    """The metrics of one family; one entry for each seed."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", case.name).lower()
    pathwise, score = np.array([m.mean for m in found]).T
    pathwise_error, score_error = np.array([m.error for m in found]).T
    return {
        f"{name}_ks_p_value": np.array([m.p_value for m in found]),
        f"{name}_gradient_exact": found[0].exact,
        f"{name}_gradient_pathwise": pathwise,
        f"{name}_gradient_pathwise_standard_error": pathwise_error,
        f"{name}_gradient_score": score,
        f"{name}_gradient_score_standard_error": score_error,
        f"{name}_variance_ratio": (score_error / pathwise_error) ** 2,
    }


def panel(case: Case, draws: Draws, found: Measured) -> plotting.SampledLaw:
    """What the picture shows of one family."""
    values = np.asarray(draws.value)
    low, high = np.quantile(values, (case.hidden, 1 - case.hidden))
    grid = np.linspace(low, high, 301, dtype=values.dtype)
    log_density = jax.jit(jax.vmap(case.law(jnp.asarray(case.at)).log_prob))
    ratio = (found.error[1] / found.error[0]) ** 2
    estimators = zip(("pathwise", "score"), found.mean, found.error, strict=True)
    return plotting.SampledLaw(
        title=case.name,
        samples=values,
        grid=grid,
        density=np.exp(log_density(grid)),
        gradient=rf"$\partial E[{case.label}]\,/\,\partial {case.symbol}$",
        exact=found.exact,
        estimates={name: (mean, error) for name, mean, error in estimators},
        remark="score biased: the support moves"
        if case.support_moves
        else f"variance ratio {ratio:.3g}",
    )


def check(config: Config) -> None:
    """Refuse what cannot be run, before anything is written."""
    running = config.running
    for name, value, least in (
        ("samples", config.sampling.samples, 2),
        ("seeds", running.seeds, 1),
        ("seed", running.seed, 0),
    ):
        if value < least:
            raise ValueError(f"--{name} expected a number from {least}, got {value}")


def main(config: Config) -> dict[str, Any]:
    """Draw, test, differentiate and save; returns the metrics."""
    check(config)
    running = config.running
    out = running.out or f"runs/reparameterisations/{time.strftime('%Y%m%d-%H%M%S')}"
    with training.open_run(out, config, overwrite=running.overwrite) as run:
        values: dict[str, Any] = {
            "experiment": "reparameterisations",
            "dataset": "simulated",
            **({"seed": running.seed} if running.seeds == 1 else {"seeds": running.seeds}),
            "samples": config.sampling.samples,
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "jax_version": jax.__version__,
        }
        seeds = range(running.seed, running.seed + running.seeds)
        for kind, cases in FAMILIES.items():
            panels = []
            for case in tqdm(cases, desc=kind):
                # By name, so that a new family leaves the draws of the others as they are.
                number = zlib.crc32(case.name.encode())
                keys = [jax.random.fold_in(jax.random.key(seed), number) for seed in seeds]
                draws = [draw(case, key, config.sampling.samples) for key in keys]
                found = [measure(case, each) for each in draws]
                values |= report_of(case, found)
                panels.append(panel(case, draws[0], found[0]))
                run.log({"family": case.name, **found[0]._asdict()})
            run.save_figure(kind, plotting.sampled_laws(panels, columns=(len(cases) + 1) // 2))
        report = run.save_metrics(values)
    print(training.format_metrics(report))
    print(f"\nPictures and metrics: {run.directory}")
    return report


if __name__ == "__main__":
    training.command_line(main, Config)
