"""Importance-sampled marginal likelihood, in memory that does not grow with the samples."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey
from jaxvae.model import Example, LatentVariableModel, Params, log_weight, map_examples


class ImportanceEstimate(NamedTuple):
    r"""What K importance weights $w_k = p(x, z_k)/q(z_k \mid x)$ say of each example.

    Attributes:
        log_likelihood: $\log\frac1K\sum_k w_k$, nats; below $\log p(x)$ in expectation. Where no
            sample has weight it is -inf, and the other two are NaN.
        effective_sample_size: $(\sum_k w_k)^2/\sum_k w_k^2$, from 1 to K.
        largest_weight: $\max_k w_k/\sum_k w_k$, from 1/K to 1. Near 1 the estimate rests on one
            sample and is far below the truth.
    """

    log_likelihood: Float[Array, " examples"]
    effective_sample_size: Float[Array, " examples"]
    largest_weight: Float[Array, " examples"]


class _Sums(NamedTuple):
    """Sums over weights relative to the largest so far, whose logarithm is kept apart.

    Sums of logarithms would round away the later weights: at -20,000 nats float32 resolves 0.002.
    """

    largest: Array
    first: Array
    second: Array


@partial(jax.jit, static_argnums=0, static_argnames=("num_samples", "chunk", "batch"))
def importance_log_likelihood(
    model: LatentVariableModel,
    params: Params,
    examples: Example,
    *,
    key: PRNGKey,
    num_samples: int,
    chunk: int = 64,
    batch: int = 16,
) -> ImportanceEstimate:
    r"""$\log p(x) \approx \log\frac1K\sum_k p(x, z_k)/q(z_k \mid x)$, $z_k \sim q(z \mid x)$.

    Memory is that of ``batch * chunk`` decoded samples, whatever K and the number of examples. The
    noise of a sample depends on (key, example, k) alone, so neither setting changes the result by
    more than rounding. What a model shares within a batch, such as the steps of a latent ODE with
    common times, the ``chunk`` samples of one example share.

    Args:
        model: the record of functions.
        params: its parameters.
        examples: examples along the first axis of every array.
        key: consumed once.
        num_samples: K.
        chunk: samples at a time.
        batch: examples at a time.

    Returns:
        The estimate and its diagnostics, one of each for every example.

    Raises:
        ValueError: if a size is not positive, or inputs and targets differ in number.

    Reference: AE + VAE notes, "Estimation of the marginal likelihood".
    """
    for name, value in (("num_samples", num_samples), ("chunk", chunk), ("batch", batch)):
        _check.positive(name, value)
    chunk = min(chunk, num_samples)
    starts = jnp.arange(0, num_samples, chunk)

    def one(example, key):
        def add(sums: _Sums, start: Array) -> tuple[_Sums, None]:
            index = start + jnp.arange(chunk)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
            weights = map_examples(lambda key: log_weight(model, params, example, key=key), keys)
            # The last chunk may reach beyond K; those draws carry no weight.
            weights = jnp.where(index < num_samples, weights, -jnp.inf)
            largest = jnp.maximum(sums.largest, jnp.max(weights))
            reference = jnp.where(jnp.isneginf(largest), 0.0, largest)
            relative, shrink = jnp.exp(weights - reference), jnp.exp(sums.largest - reference)
            return _Sums(
                largest,
                sums.first * shrink + jnp.sum(relative),
                sums.second * shrink**2 + jnp.sum(relative**2),
            ), None

        sums, _ = lax.scan(add, _Sums(jnp.full((), -jnp.inf), jnp.zeros(()), jnp.zeros(())), starts)
        return ImportanceEstimate(
            log_likelihood=sums.largest + jnp.log(sums.first / num_samples),
            effective_sample_size=sums.first**2 / sums.second,
            largest_weight=jnp.where(sums.first > 0.0, 1.0 / sums.first, jnp.nan),
        )

    size = _check.examples("importance_log_likelihood", examples)
    return map_examples(one, examples, jax.random.split(key, size), batch_size=batch)
