"""Where annealed chains begin, and the temperatures on their way."""

from collections.abc import Callable

import jax
import numpy as np

from jaxvae.distributions import Distribution
from jaxvae.model import Example, LatentVariableModel, Params


def start_from_prior(model: LatentVariableModel, params: Params, example: Example) -> Distribution:
    """Chains begin at p(z | c)."""
    return model.prior(params, example.context)


def start_from_posterior(
    model: LatentVariableModel, params: Params, example: Example
) -> Distribution:
    """Chains begin at q(z | x, c), which must have a density wherever the prior has."""
    return model.posterior(params, example.inputs, example.context)


def linear_schedule(num_temperatures: int) -> np.ndarray:
    r"""$\beta_t = t/T$ for t from 0 to T."""
    return np.linspace(0.0, 1.0, num_temperatures + 1)


def sigmoidal_schedule(num_temperatures: int) -> np.ndarray:
    r"""$\beta_t$ from $\tanh 2(2t/T - 1)$, scaled to lead from 0 to 1: slow at both ends.

    Reference: Wu, Burda, Salakhutdinov and Grosse (2017), section 3.1, with $\delta = 4$.
    """
    rise = np.tanh(2.0 * np.linspace(-1.0, 1.0, num_temperatures + 1))
    return (rise - rise[0]) / (rise[-1] - rise[0])


def rising(schedule: Callable[[int], np.ndarray], number: int) -> np.ndarray:
    """The temperatures of a schedule, checked: other ends would estimate something else."""
    with jax.ensure_compile_time_eval():
        values = np.asarray(schedule(number))
    if values.shape != (number + 1,):
        raise ValueError(
            f"schedule expected to return {number + 1} temperatures, one more than "
            f"num_temperatures, got shape {values.shape}"
        )
    if values[0] != 0.0 or values[-1] != 1.0 or not np.all(np.diff(values) >= 0.0):
        raise ValueError(
            "schedule expected temperatures that rise from 0 to 1, got "
            f"{values[0]:g} to {values[-1]:g} with a lowest step of {np.min(np.diff(values)):g}; "
            "divide by the last one, or use sigmoidal_schedule or linear_schedule"
        )
    return values
