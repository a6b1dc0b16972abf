"""The exponential moving average of the parameters."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvae._types import PyTree
from jaxvae.training.state import TrainState

Choice = Literal["last", "best", "average"]


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
    resumed with it; ``averaged_params(state)`` takes it out.

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


def chosen_params(state: TrainState, which: Choice) -> PyTree:
    """The last parameters of a state, the best that it kept, or their average.

    Raises:
        ValueError: if the state holds none of these.
    """
    if which == "last":
        return state.params
    if which == "average":
        return averaged_params(state.optimiser)
    if state.watch.best is None:
        raise ValueError("the best parameters expected a fit with keep_best=True")
    if np.any(np.asarray(state.watch.best_step) < 0):
        raise ValueError(
            "the best parameters expected a finite held-out bound, and there was none; "
            "look at the held-out rows, or train up to a line of the log"
        )
    return state.watch.best.params


def averaged_params(optimiser_state: PyTree) -> PyTree:
    """The average that ``with_average`` keeps, out of the state of an optimiser.

    Raises:
        ValueError: if it keeps none.
    """
    found = optax.tree_utils.tree_get(optimiser_state, "average")
    if found is None:
        raise ValueError("averaged_params expected an optimiser made by with_average")
    return found
