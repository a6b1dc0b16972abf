"""All reparameterisable families and two estimators of their gradients: the Bath report, 4.2.5.

For every family, samples by transformed noise are compared with the density, and the pathwise and
the score-function estimator of the gradient of an expectation by one parameter are compared with
its closed form. Where the parameter moves the support, the score function is biased:

    python -m experiments.reparameterisations
"""

import math
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import betainc, digamma
from jax.scipy.stats.norm import logcdf as log_cdf
from jax.scipy.stats.norm import logpdf as log_pdf
from scipy import stats
from tqdm.auto import tqdm

from jaxvae import distributions as dist
from jaxvae import plotting, training


@dataclass(frozen=True)
class Sampling:
    """How many samples are drawn."""

    samples: int = 100_000
    """Samples from each family, for the picture, the test and both gradients."""


@dataclass(frozen=True)
class Repetition:
    """Where the run is kept and how often it is repeated; nothing is trained, nor resumed."""

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
    running: Repetition = field(default_factory=Repetition)


EULER = float(np.euler_gamma)


def identity(event: Any) -> Any:
    """The only coordinate of a scalar event."""
    return event


@dataclass(frozen=True)
class Case:
    r"""$E[f(x)]$ as a function of one parameter.

    Attributes:
        name: of the family.
        make: parameter to distribution.
        at: value of the parameter.
        symbol: of the parameter, in LaTeX.
        label: of f, in LaTeX.
        function: f, of one event.
        expectation: parameter to the closed form of E[f(x)].
        coordinate: event to the coordinate that is shown and tested.
        marginal: parameter to the distribution of that coordinate, if it is not that of ``make``.
        cdf: distribution function of the coordinate, if the library has none.
        support_moves: whether the support depends on the parameter. Differentiation under the
            integral sign, and so the score function, then misses the boundary term.
        hidden: share of the samples outside each end of the picture.
    """

    name: str
    make: Callable[[Array], Any]
    at: float
    symbol: str
    label: str
    function: Callable[[Any], Array]
    expectation: Callable[[Array], Array]
    coordinate: Callable[[Any], Array] = identity
    marginal: Callable[[Array], Any] | None = None
    cdf: Callable[[Array], Array] | None = None
    support_moves: bool = False
    hidden: float = 0.004

    @property
    def distribution(self) -> Callable[[Array], Any]:
        """Parameter to the distribution of the coordinate."""
        return self.marginal or self.make


def number(value: float) -> Array:
    """A scalar parameter that is held fixed."""
    return jnp.asarray(value)


def log(value: float) -> Array:
    """The logarithm of a positive parameter that is held fixed."""
    return jnp.asarray(math.log(value))


def student_t_cdf(x: Array) -> Array:
    """Distribution function of Student's t with ten degrees of freedom."""
    tail = 0.5 * betainc(5.0, 0.5, 10 / (10 + x * x))
    return jnp.where(x > 0, 1 - tail, tail)


LOG_SCALE, LOG_RATE, SQUARE = r"\log\sigma", r"\log\lambda", "x^2"

INVERSION = (
    Case("Exponential", lambda t: dist.Exponential(t), math.log(2), LOG_RATE, SQUARE,
         jnp.square, lambda t: 2 * jnp.exp(-2 * t)),
    Case("Cauchy", lambda t: dist.Cauchy(t, log(0.5)), 1.0, r"\mu", r"\cos x",
         jnp.cos, lambda t: math.exp(-0.5) * jnp.cos(t), hidden=0.03),
    Case("Logistic", lambda t: dist.Logistic(number(1.0), t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + jnp.exp(2 * t) * math.pi**2 / 3),
    Case("Rayleigh", lambda t: dist.Rayleigh(t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 2 * jnp.exp(2 * t)),
    Case("Pareto", lambda t: dist.Pareto(log(1.0), t), math.log(3), r"\log\alpha", r"\log x",
         jnp.log, lambda t: jnp.exp(-t)),
    Case("Weibull", lambda t: dist.Weibull(log(1.0), t), math.log(2), r"\log k", r"\log x",
         jnp.log, lambda t: -EULER * jnp.exp(-t)),
    Case("Reciprocal", lambda t: dist.Reciprocal(log(1.0), t), 0.0, r"\log w", "x",
         identity, lambda t: jnp.expm1(jnp.exp(t)) * jnp.exp(-t), support_moves=True),
    Case("Gompertz", lambda t: dist.Gompertz(t, log(1.0)), math.log(0.5), r"\log\eta", "e^x",
         jnp.exp, lambda t: 1 + jnp.exp(-t)),
    Case("Gumbel", lambda t: dist.Gumbel(number(1.0), t), 0.0, LOG_SCALE, SQUARE, jnp.square,
         lambda t: (1 + EULER * jnp.exp(t)) ** 2 + math.pi**2 / 6 * jnp.exp(2 * t)),
    Case("Erlang", lambda t: dist.Erlang(3, t), 0.0, LOG_RATE, SQUARE,
         jnp.square, lambda t: 12 * jnp.exp(-2 * t)),
)  # fmt: skip
"""Families by inversion of the distribution function, family 1 of the report."""

LOCATION_SCALE = (
    Case("Laplace", lambda t: dist.Laplace(number(1.0), t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + 2 * jnp.exp(2 * t)),
    Case("StudentT", lambda t: dist.StudentT(number(1.0), t, log(10.0)), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + 1.25 * jnp.exp(2 * t),
         cdf=lambda x: student_t_cdf(x - 1.0)),
    Case("Uniform", lambda t: dist.Uniform(number(1.0), t), 0.0, r"\log w", SQUARE,
         jnp.square, lambda t: 1 + jnp.exp(t) + jnp.exp(2 * t) / 3, support_moves=True),
    Case("Triangular", lambda t: dist.Triangular(number(0.0), log(1.0), t), -1.0,
         r"\mathrm{logit}\,m", SQUARE, jnp.square,
         lambda t: (1 + 1 / (1 + jnp.exp(-t)) + (1 + jnp.exp(-t)) ** -2) / 6),
    Case("TruncatedNormal",
         lambda t: dist.TruncatedNormal(t, log(1.0), number(0.0), number(math.inf)), -1.0,
         r"\mu", SQUARE, jnp.square, lambda t: 1 + t * t + t * jnp.exp(log_pdf(t) - log_cdf(t))),
    Case("Normal", lambda t: dist.Normal(number(1.0), t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + jnp.exp(2 * t)),
    Case("MultivariateNormal",
         lambda t: dist.MultivariateNormal(jnp.ones(2), jnp.stack([t, t]), jnp.ones(1)),
         0.0, r"\log L_{ii}", "x_2^2", lambda x: x[1] ** 2, lambda t: 2 + jnp.exp(2 * t),
         coordinate=lambda x: x[1],
         marginal=lambda t: dist.Normal(number(1.0), 0.5 * jnp.log1p(jnp.exp(2 * t)))),
    Case("LowRankNormal",
         lambda t: dist.LowRankNormal(jnp.ones(2), jnp.zeros(2), t * jnp.ones((2, 1))),
         1.0, "W", "x_1x_2", lambda x: x[0] * x[1], lambda t: 1 + t**2,
         coordinate=lambda x: x[0],
         marginal=lambda t: dist.Normal(number(1.0), 0.5 * jnp.log1p(t**2))),
    Case("MultivariateStudentT",
         lambda t: dist.MultivariateStudentT(jnp.zeros(2), jnp.zeros(2), jnp.ones(1), t),
         math.log(10), r"\log\nu", "|x|^2", lambda x: jnp.sum(x**2),
         lambda t: 3 / (1 - 2 * jnp.exp(-t)), coordinate=lambda x: x[0],
         marginal=lambda t: dist.StudentT(number(0.0), number(0.0), t),
         cdf=student_t_cdf),
)  # fmt: skip
"""Location-scale families, family 2; the elliptical last one is implicit in its parameter."""

COMPOSITION = (
    Case("LogNormal", lambda t: dist.LogNormal(number(0.0), t), math.log(0.5), LOG_SCALE, "x",
         identity, lambda t: jnp.exp(jnp.exp(2 * t) / 2)),
    Case("Gamma", lambda t: dist.Gamma(t, log(2.0)), math.log(3), r"\log\alpha", SQUARE,
         jnp.square, lambda t: jnp.exp(t) * (jnp.exp(t) + 1) / 4),
    Case("Beta", lambda t: dist.Beta(t, log(3.0)), math.log(2), r"\log\alpha", SQUARE, jnp.square,
         lambda t: jnp.exp(t) * (jnp.exp(t) + 1) / ((jnp.exp(t) + 3) * (jnp.exp(t) + 4))),
    Case("Dirichlet", lambda t: dist.Dirichlet(jnp.stack([t, log(2.0), log(3.0)])), 0.0,
         r"\log\alpha_1", "x_1^2", lambda x: x[0] ** 2,
         lambda t: jnp.exp(t) * (jnp.exp(t) + 1) / ((jnp.exp(t) + 5) * (jnp.exp(t) + 6)),
         coordinate=lambda x: x[0], marginal=lambda t: dist.Beta(t, log(5.0))),
    Case("ChiSquared", lambda t: dist.ChiSquared(t), math.log(4), r"\log\nu", SQUARE,
         jnp.square, lambda t: jnp.exp(t) * (jnp.exp(t) + 2)),
    Case("F", lambda t: dist.F(t, log(12.0)), math.log(6), r"\log\nu_1", r"\log x", jnp.log,
         lambda t: digamma(jnp.exp(t) / 2) - t + math.log(12) - digamma(6.0)),
    Case("RelaxedBernoulli", lambda t: dist.RelaxedBernoulli(t, log(1.5)), 1.0, r"\ell",
         r"\mathrm{logit}(x)^2", lambda x: (jnp.log(x) - jnp.log1p(-x)) ** 2,
         lambda t: (t**2 + math.pi**2 / 3) / 2.25),
    Case("RelaxedCategorical",
         lambda t: dist.RelaxedCategorical(jnp.stack([t, number(0.0)]), log(1.5)), 1.0, r"\ell_1",
         r"\log(x_1/x_2)^2", lambda x: (jnp.log(x[0]) - jnp.log(x[1])) ** 2,
         lambda t: (t**2 + math.pi**2 / 3) / 2.25, coordinate=lambda x: x[0],
         marginal=lambda t: dist.RelaxedBernoulli(t, log(1.5))),
)  # fmt: skip
"""Families by composition, family 3, and the relaxed discrete distributions."""

FAMILIES = {"inversion": INVERSION, "location_scale": LOCATION_SCALE, "composition": COMPOSITION}


class Draws(NamedTuple):
    """Results of one sample, or of many.

    Attributes:
        value: the coordinate that is shown.
        uniform: the distribution function at that coordinate.
        pathwise: derivative of f(g(parameter, noise)).
        score: f(x) times the derivative of log q(x).
    """

    value: Array
    uniform: Array
    pathwise: Array
    score: Array


class Measured(NamedTuple):
    """Measurements of one family.

    Attributes:
        p_value: of the Kolmogorov-Smirnov test of the samples.
        exact: the gradient in closed form.
        mean: means of the two estimators, pathwise first.
        error: standard errors of these means.
    """

    p_value: float
    exact: float
    mean: tuple[float, float]
    error: tuple[float, float]


@partial(jax.jit, static_argnums=(0, 2))
def draw(case: Case, key: Array, number: int) -> Draws:
    """Draw independent samples, each with both estimates of the gradient."""

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
        uniform = (case.cdf or case.distribution(parameter).cdf)(value)
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
    """The metrics of one family, one entry for each seed."""
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


def panel(case: Case, draws: Draws, found: Measured) -> plotting.SampledDistribution:
    """The panel of one family in the picture."""
    values = np.asarray(draws.value)
    low, high = np.quantile(values, (case.hidden, 1 - case.hidden))
    grid = np.linspace(low, high, 301, dtype=values.dtype)
    log_density = jax.jit(jax.vmap(case.distribution(jnp.asarray(case.at)).log_prob))
    ratio = (found.error[1] / found.error[0]) ** 2
    estimators = zip(("pathwise", "score"), found.mean, found.error, strict=True)
    return plotting.SampledDistribution(
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
                # The key depends on the name, so that a new family does not change the other draws.
                number = zlib.crc32(case.name.encode())
                keys = [jax.random.fold_in(jax.random.key(seed), number) for seed in seeds]
                draws = [draw(case, key, config.sampling.samples) for key in keys]
                found = [measure(case, each) for each in draws]
                values |= report_of(case, found)
                panels.append(panel(case, draws[0], found[0]))
                run.log({"family": case.name, **found[0]._asdict()})
            run.save_figure(
                kind, plotting.sampled_distributions(panels, columns=(len(cases) + 1) // 2)
            )
        report = run.save_metrics(values)
    print(training.format_metrics(report))
    print(f"\nPictures and metrics: {run.directory}")
    return report


if __name__ == "__main__":
    training.command_line(main, Config)
