"""The mean of an objective over a data set."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.model import Estimate, Example, map_examples


class Evaluation(NamedTuple):
    """Mean over examples, and the standard error of that mean.

    Attributes:
        mean: of every field of the estimate, nats.
        standard_error: over examples, nats; NaN for a single one.
    """

    mean: Estimate
    standard_error: Estimate


@partial(jax.jit, static_argnums=0, static_argnames=("batch",))
def evaluate(
    loss: Callable[..., Estimate],
    params: PyTree,
    examples: Example,
    *,
    key: PRNGKey,
    batch: int = 256,
) -> Evaluation:
    """Average an objective over all examples, those of a last partial batch included.

    It is compiled for every new ``loss``, and a fresh ``functools.partial`` is a new one, even of
    the same parts; all stay in JAX's cache. Make the loss once and pass it again.

    Args:
        loss: ``(params, example, *, key) -> Estimate`` of one example.
        params: its parameters.
        examples: examples along the first axis of every array.
        key: consumed once.
        batch: examples at a time.

    Raises:
        ValueError: if batch is not positive.
    """
    _check.positive("batch", batch)
    size = _check.examples("evaluate", examples)
    estimates = map_examples(
        lambda example, key: loss(params, example, key=key),
        examples,
        jax.random.split(key, size),
        batch_size=batch,
    )
    return Evaluation(
        mean=jax.tree.map(lambda x: jnp.mean(x, axis=0), estimates),
        standard_error=jax.tree.map(lambda x: jnp.std(x, axis=0, ddof=1) / size**0.5, estimates),
    )
