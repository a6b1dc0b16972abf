"""Optimisers that depend on a member, that leave out bad updates, that average parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxvae._types import PyTree

Optimiser: TypeAlias = optax.GradientTransformation | Callable[[Any], optax.GradientTransformation]
"""An optax optimiser, or a function of a member's hyperparameters that returns one."""

CONSECUTIVE_SKIPS = 100
"""Bad updates in a row that ``skipping`` leaves out; one more is applied, and is an error."""


def optimiser_of(optimiser: Optimiser, hyperparameters: PyTree) -> optax.GradientTransformation:
    """The optimiser of one member.

    Raises:
        ValueError: if it is neither an optimiser nor a function of hyperparameters that exist.
    """
    if isinstance(optimiser, optax.GradientTransformation):
        return optimiser
    if hyperparameters is None or not callable(optimiser):
        raise ValueError(
            "expected an optax optimiser, such as optax.adam(1e-3), or with hyperparameters a "
            f"function of them that returns one, got {optimiser!r}"
        )
    return optimiser(hyperparameters)


def skipping(optimiser: Optimiser) -> Optimiser:
    """The optimiser that leaves out updates that are not finite, and counts them."""

    def wrap(inner):
        return optax.apply_if_finite(inner, CONSECUTIVE_SKIPS)

    if isinstance(optimiser, optax.GradientTransformation):
        return wrap(optimiser)
    return lambda hyperparameters: wrap(optimiser_of(optimiser, hyperparameters))


class AverageState(NamedTuple):
    """The optimiser's own state and the average.

    Attributes:
        optimiser: state of the optimiser that is wrapped.
        average: of the parameters after each step.
    """

    optimiser: Any
    average: PyTree


def with_average(
    optimiser: optax.GradientTransformation, decay: float
) -> optax.GradientTransformationExtraArgs:
    r"""An optimiser that keeps an exponential moving average of the parameters beside them.

    $$\bar\theta_t = \rho\,\bar\theta_{t-1} + (1 - \rho)\,\theta_t,\qquad \bar\theta_0 = \theta_0$$

    Training itself is unchanged. As the average is part of the optimiser's state, it is saved and
    resumed with it; ``averaged_params`` reads it.

    Args:
        optimiser: any optax optimiser.
        decay: $\rho$, at least 0 and below 1; steps averaged over are about $1 / (1 - \rho)$.

    Raises:
        ValueError: if the decay is out of range.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"with_average expected a decay from 0 to below 1, got {decay}")
    inner = optax.with_extra_args_support(optimiser)

    def init(params):
        return AverageState(inner.init(params), jax.tree.map(jnp.asarray, params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        updates, optimiser_state = inner.update(updates, state.optimiser, params, **extra)
        after = optax.apply_updates(params, updates)
        average = optax.incremental_update(after, state.average, 1 - decay)
        return updates, AverageState(optimiser_state, average)

    return optax.GradientTransformationExtraArgs(init, update)


def averaged_params(optimiser_state: PyTree) -> PyTree:
    """The average that ``with_average`` keeps in the state of its optimiser.

    Raises:
        ValueError: if the optimiser was not made by ``with_average``.
    """
    found = optax.tree_utils.tree_get(optimiser_state, "average")
    if found is None:
        raise ValueError("averaged_params expected an optimiser made by with_average")
    return found
