"""The exact expectation over a discrete latent."""

import itertools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import Bernoulli, Categorical
from jaxvae.objectives.estimators.draws import Draws, each

_MOST_EVENTS = 2**16


def enumerated(
    q: Any, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
) -> Draws:
    r"""$\sum_z q(z) f(z)$ over every event: exact, without noise, whatever ``num_samples``.

    Raises:
        ValueError: if q is neither Categorical nor Bernoulli, or has more than 65,536 events.
    """
    del key, num_samples, temperature
    events = _events(q)[None]
    log_q = each(q.log_prob, events)
    return Draws(z=events, log_q=log_q, weight=jnp.exp(log_q), hard=events)


def _events(q: Any) -> Array:
    """Every event of q along the first axis."""
    if isinstance(q, Bernoulli):
        factors, choices = math.prod(q.event_shape), np.array([[0.0], [1.0]])
    elif isinstance(q, Categorical):
        factors, choices = math.prod(q.event_shape[:-1]), np.eye(q.event_shape[-1])
    else:
        raise ValueError(
            f"enumerated expected a Categorical or a Bernoulli, got {type(q).__name__}; use "
            "by_factor(enumerated, ...) for the discrete part of a Joint or Product"
        )
    number = len(choices) ** factors
    if number > _MOST_EVENTS:
        raise ValueError(
            f"enumerated expected at most {_MOST_EVENTS} events, got {len(choices)}^{factors}; "
            "use score_function with baseline=leave_one_out"
        )
    table = list(itertools.product(range(len(choices)), repeat=factors))
    rows = choices[np.asarray(table, int).reshape(number, factors)]
    return jnp.asarray(rows.reshape(number, *q.event_shape), q.logits.dtype)
