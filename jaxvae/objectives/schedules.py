"""Weights of the KL term as functions of the training step.

``settings=lambda step: ElboSettings(beta=schedules.linear(0.0, 1.0, 1000)(step))`` makes beta
follow the step in ``fit``. Steps count from zero.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32, Int

from jaxvae import _check

Schedule: TypeAlias = Callable[[int | Int[Array, ""]], Float32[Array, ""]]


def linear(start: float, end: float, num_steps: int) -> Schedule:
    r"""$\beta_t = \beta_0 + (\beta_1 - \beta_0)\min(t/T, 1)$: a ramp, then constant.

    Args:
        start: $\beta_0$, the weight at step 0.
        end: $\beta_1$, the weight from step T on.
        num_steps: T.

    Returns:
        A function of the step, traced or not.

    Raises:
        ValueError: if a weight is negative or not finite, or T is not positive.

    Reference: Bowman et al. (2016), section 3.1 (KL cost annealing).

    Example:
        >>> from jaxvae.objectives import schedules
        >>> float(schedules.linear(0.0, 1.0, 1000)(250))
        0.25
    """
    _check_weights("schedules.linear", start=start, end=end)
    _check.positive("num_steps", num_steps)

    def schedule(step: int | Int[Array, ""]) -> Float32[Array, ""]:
        # Whole steps are clipped before they become floats, which are exact up to 2^24 only.
        done = jnp.minimum(step, num_steps)
        return _between(start, end, done.astype(jnp.float32) / num_steps)

    return schedule


def cyclical(low: float, high: float, period: int, ramp: float = 0.5) -> Schedule:
    r"""A ramp and a plateau, again and again: the KL term comes back gently in every period.

    $$\beta_t = \beta_0 + (\beta_1 - \beta_0)\min(\tau/R, 1),\qquad \tau = (t \bmod P)/P$$

    Args:
        low: $\beta_0$, the weight at the start of each period.
        high: $\beta_1$, the weight after each ramp.
        period: P, in steps.
        ramp: R, the share of each period that the ramp takes, in (0, 1].

    Returns:
        A function of the step, traced or not.

    Raises:
        ValueError: if a weight is negative or not finite, P is not positive, or R lies outside
            (0, 1].

    Reference: Fu et al. (2019), eqs. 6 and 7, with linear f, and steps that count from zero.

    Example:
        >>> from jaxvae.objectives import schedules
        >>> [float(schedules.cyclical(0.0, 1.0, period=8)(step)) for step in (0, 2, 4, 7, 8)]
        [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    _check_weights("schedules.cyclical", low=low, high=high)
    _check.positive("period", period)
    if not 0.0 < ramp <= 1.0:
        raise ValueError(f"ramp expected a share of the period in (0, 1], got {ramp}")

    def schedule(step: int | Int[Array, ""]) -> Float32[Array, ""]:
        phase = jnp.remainder(step, period)
        return _between(low, high, jnp.minimum(phase.astype(jnp.float32) / (ramp * period), 1.0))

    return schedule


def _between(start: float, end: float, share: Float32[Array, ""]) -> Float32[Array, ""]:
    # Exact at both ends, where start + (end - start) rounds.
    return start * (1.0 - share) + end * share


def _check_weights(owner: str, **weights: float) -> None:
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0.0):
            raise ValueError(f"{owner} expected a finite weight {name} of at least 0, got {weight}")
