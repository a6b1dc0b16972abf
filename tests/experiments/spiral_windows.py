"""Few and short series of spirals, and a small model of them."""

from functools import cache

from experiments.latent_ode import Problem
from experiments.latent_ode.experiment import draw_series
from experiments.latent_ode.forecaster import Setting
from experiments.shared.options import Running
from jaxvae import ode

# For facts that hold with any solver; Euler's method is soon compiled.
FIXED = ode.fixed_steps(0.5, solver=ode.Euler())
SMALL = Setting("anywhere", "rnn", 3, (4,), (3,), 3, 0.1, 6, 4.0, 4, 5, 1e-2, True)


def problem_of(points, split="shared", **options):
    return Problem(points=(points,), split=split, series=12, test_series=40, **options)


@cache
def windows():
    return draw_series(problem_of(40), 40, Running(seeds=2))
