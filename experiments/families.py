"""Expectations whose gradients are known: a table over the reparameterisable families."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import betainc, digamma
from jax.scipy.stats.norm import logcdf as log_cdf
from jax.scipy.stats.norm import logpdf as log_pdf

from jaxvae import distributions as laws

EULER = float(np.euler_gamma)


def identity(event: Any) -> Any:
    """The coordinate of an event that has but one."""
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
        coordinate: event to the number whose law is shown.
        marginal: parameter to that law, where it is not the distribution itself.
        cdf: of that law, where the library has none.
        support_moves: whether the parameter moves the support, so that differentiation under the
            integral sign, and with it the score function, misses what crosses the boundary.
        hidden: share of the samples beyond each end of the picture.
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
    def law(self) -> Callable[[Array], Any]:
        """Parameter to the law of the coordinate."""
        return self.marginal or self.make


def number(value: float) -> Array:
    """A scalar parameter that stays as it is."""
    return jnp.asarray(value)


def log(value: float) -> Array:
    """The unconstrained form of a positive parameter that stays as it is."""
    return jnp.asarray(math.log(value))


def student_t_cdf(x: Array) -> Array:
    """Of ten degrees of freedom."""
    tail = 0.5 * betainc(5.0, 0.5, 10 / (10 + x * x))
    return jnp.where(x > 0, 1 - tail, tail)


LOG_SCALE, LOG_RATE, SQUARE = r"\log\sigma", r"\log\lambda", "x^2"

INVERSION = (
    Case("Exponential", lambda t: laws.Exponential(t), math.log(2), LOG_RATE, SQUARE,
         jnp.square, lambda t: 2 * jnp.exp(-2 * t)),
    Case("Cauchy", lambda t: laws.Cauchy(t, log(0.5)), 1.0, r"\mu", r"\cos x",
         jnp.cos, lambda t: math.exp(-0.5) * jnp.cos(t), hidden=0.03),
    Case("Logistic", lambda t: laws.Logistic(number(1.0), t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + jnp.exp(2 * t) * math.pi**2 / 3),
    Case("Rayleigh", lambda t: laws.Rayleigh(t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 2 * jnp.exp(2 * t)),
    Case("Pareto", lambda t: laws.Pareto(log(1.0), t), math.log(3), r"\log\alpha", r"\log x",
         jnp.log, lambda t: jnp.exp(-t)),
    Case("Weibull", lambda t: laws.Weibull(log(1.0), t), math.log(2), r"\log k", r"\log x",
         jnp.log, lambda t: -EULER * jnp.exp(-t)),
    Case("Reciprocal", lambda t: laws.Reciprocal(log(1.0), t), 0.0, r"\log w", "x",
         identity, lambda t: jnp.expm1(jnp.exp(t)) * jnp.exp(-t), support_moves=True),
    Case("Gompertz", lambda t: laws.Gompertz(t, log(1.0)), math.log(0.5), r"\log\eta", "e^x",
         jnp.exp, lambda t: 1 + jnp.exp(-t)),
    Case("Gumbel", lambda t: laws.Gumbel(number(1.0), t), 0.0, LOG_SCALE, SQUARE, jnp.square,
         lambda t: (1 + EULER * jnp.exp(t)) ** 2 + math.pi**2 / 6 * jnp.exp(2 * t)),
    Case("Erlang", lambda t: laws.Erlang(3, t), 0.0, LOG_RATE, SQUARE,
         jnp.square, lambda t: 12 * jnp.exp(-2 * t)),
)  # fmt: skip
"""The inverse distribution function, family 1."""

LOCATION_SCALE = (
    Case("Laplace", lambda t: laws.Laplace(number(1.0), t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + 2 * jnp.exp(2 * t)),
    Case("StudentT", lambda t: laws.StudentT(number(1.0), t, log(10.0)), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + 1.25 * jnp.exp(2 * t),
         cdf=lambda x: student_t_cdf(x - 1.0)),
    Case("Uniform", lambda t: laws.Uniform(number(1.0), t), 0.0, r"\log w", SQUARE,
         jnp.square, lambda t: 1 + jnp.exp(t) + jnp.exp(2 * t) / 3, support_moves=True),
    Case("Triangular", lambda t: laws.Triangular(number(0.0), log(1.0), t), -1.0,
         r"\mathrm{logit}\,m", SQUARE, jnp.square,
         lambda t: (1 + 1 / (1 + jnp.exp(-t)) + (1 + jnp.exp(-t)) ** -2) / 6),
    Case("TruncatedNormal",
         lambda t: laws.TruncatedNormal(t, log(1.0), number(0.0), number(math.inf)), -1.0,
         r"\mu", SQUARE, jnp.square, lambda t: 1 + t * t + t * jnp.exp(log_pdf(t) - log_cdf(t))),
    Case("Normal", lambda t: laws.Normal(number(1.0), t), 0.0, LOG_SCALE, SQUARE,
         jnp.square, lambda t: 1 + jnp.exp(2 * t)),
    Case("MultivariateNormal",
         lambda t: laws.MultivariateNormal(jnp.ones(2), jnp.stack([t, t]), jnp.ones(1)),
         0.0, r"\log L_{ii}", "x_2^2", lambda x: x[1] ** 2, lambda t: 2 + jnp.exp(2 * t),
         coordinate=lambda x: x[1],
         marginal=lambda t: laws.Normal(number(1.0), 0.5 * jnp.log1p(jnp.exp(2 * t)))),
    Case("LowRankNormal",
         lambda t: laws.LowRankNormal(jnp.ones(2), jnp.zeros(2), t * jnp.ones((2, 1))),
         1.0, "W", "x_1x_2", lambda x: x[0] * x[1], lambda t: 1 + t**2,
         coordinate=lambda x: x[0],
         marginal=lambda t: laws.Normal(number(1.0), 0.5 * jnp.log1p(t**2))),
    Case("MultivariateStudentT",
         lambda t: laws.MultivariateStudentT(jnp.zeros(2), jnp.zeros(2), jnp.ones(1), t),
         math.log(10), r"\log\nu", "|x|^2", lambda x: jnp.sum(x**2),
         lambda t: 3 / (1 - 2 * jnp.exp(-t)), coordinate=lambda x: x[0],
         marginal=lambda t: laws.StudentT(number(0.0), number(0.0), t),
         cdf=student_t_cdf),
)  # fmt: skip
"""Location and scale, family 2; the last is the elliptical example, implicit in its parameter."""

COMPOSITION = (
    Case("LogNormal", lambda t: laws.LogNormal(number(0.0), t), math.log(0.5), LOG_SCALE, "x",
         identity, lambda t: jnp.exp(jnp.exp(2 * t) / 2)),
    Case("Gamma", lambda t: laws.Gamma(t, log(2.0)), math.log(3), r"\log\alpha", SQUARE,
         jnp.square, lambda t: jnp.exp(t) * (jnp.exp(t) + 1) / 4),
    Case("Beta", lambda t: laws.Beta(t, log(3.0)), math.log(2), r"\log\alpha", SQUARE, jnp.square,
         lambda t: jnp.exp(t) * (jnp.exp(t) + 1) / ((jnp.exp(t) + 3) * (jnp.exp(t) + 4))),
    Case("Dirichlet", lambda t: laws.Dirichlet(jnp.stack([t, log(2.0), log(3.0)])), 0.0,
         r"\log\alpha_1", "x_1^2", lambda x: x[0] ** 2,
         lambda t: jnp.exp(t) * (jnp.exp(t) + 1) / ((jnp.exp(t) + 5) * (jnp.exp(t) + 6)),
         coordinate=lambda x: x[0], marginal=lambda t: laws.Beta(t, log(5.0))),
    Case("ChiSquared", lambda t: laws.ChiSquared(t), math.log(4), r"\log\nu", SQUARE,
         jnp.square, lambda t: jnp.exp(t) * (jnp.exp(t) + 2)),
    Case("F", lambda t: laws.F(t, log(12.0)), math.log(6), r"\log\nu_1", r"\log x", jnp.log,
         lambda t: digamma(jnp.exp(t) / 2) - t + math.log(12) - digamma(6.0)),
    Case("RelaxedBernoulli", lambda t: laws.RelaxedBernoulli(t, log(1.5)), 1.0, r"\ell",
         r"\mathrm{logit}(x)^2", lambda x: (jnp.log(x) - jnp.log1p(-x)) ** 2,
         lambda t: (t**2 + math.pi**2 / 3) / 2.25),
    Case("RelaxedCategorical",
         lambda t: laws.RelaxedCategorical(jnp.stack([t, number(0.0)]), log(1.5)), 1.0, r"\ell_1",
         r"\log(x_1/x_2)^2", lambda x: (jnp.log(x[0]) - jnp.log(x[1])) ** 2,
         lambda t: (t**2 + math.pi**2 / 3) / 2.25, coordinate=lambda x: x[0],
         marginal=lambda t: laws.RelaxedBernoulli(t, log(1.5))),
)  # fmt: skip
"""Compositions, family 3, and the relaxed discrete laws."""

FAMILIES = {"inversion": INVERSION, "location_scale": LOCATION_SCALE, "composition": COMPOSITION}
