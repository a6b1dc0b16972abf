"""Annealed importance sampling: log p(x) from below, and from above where x was simulated."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions import Distribution
from jaxvae.metrics._flat_joint import flat_joint
from jaxvae.metrics.annealing.bridge import rising, sigmoidal_schedule, start_from_posterior
from jaxvae.metrics.annealing.chains import Chain, anneal, tune
from jaxvae.model import Example, LatentVariableModel, Params, map_examples

_SIZES = ("num_chains", "num_temperatures", "num_leapfrog", "chunk", "batch")
_STATIC = (*_SIZES, "initial", "schedule")


class AnnealedEstimate(NamedTuple):
    r"""What K annealed chains say of each example.

    Attributes:
        log_likelihood: nats.
        effective_sample_size: of the chains' weights, from 1 to K; near 1 the estimate rests on
            one chain, and more temperatures help more than more chains.
        acceptance: mean over chains and transitions; the step sizes aim at 0.8.
        lowest_acceptance: the lowest mean over chains of any transition.
    """

    log_likelihood: Float[Array, " examples"]
    effective_sample_size: Float[Array, " examples"]
    acceptance: Float[Array, " examples"]
    lowest_acceptance: Float[Array, " examples"]


class LikelihoodBracket(NamedTuple):
    r"""Bounds of $\log p(x)$ for examples that were drawn from the model.

    Attributes:
        examples: the draws.
        lower: by forward chains, below $\log p(x)$ in expectation.
        upper: by reverse chains, above $\log p(x)$ in expectation.
    """

    examples: Example
    lower: AnnealedEstimate
    upper: AnnealedEstimate


@partial(jax.jit, static_argnums=0, static_argnames=_STATIC)
def annealed_log_likelihood(
    model: LatentVariableModel,
    params: Params,
    examples: Example,
    *,
    key: PRNGKey,
    num_chains: int,
    num_temperatures: int,
    num_leapfrog: int = 10,
    initial: Callable[..., Distribution] = start_from_posterior,
    schedule: Callable[[int], np.ndarray] = sigmoidal_schedule,
    chunk: int = 16,
    batch: int = 16,
) -> AnnealedEstimate:
    r"""$\log p(x) \approx \log\frac1K\sum_k w_k$ by annealing from $p_0(z)$ to the posterior.

    A chain passes the densities $p_0(z)^{1-\beta_t}\,p(x, z)^{\beta_t}$ by Hamiltonian transitions.
    $E[w_k] = p(x)$ whatever the number of temperatures, so the estimate is a lower bound in
    expectation, and its gap closes as the temperatures grow. The step sizes are those of pilot
    chains, and fixed.

    A chain's noise depends on (key, example, k) alone, not on ``chunk`` or ``batch``, though their
    rounding may tip an acceptance. Memory is that of ``batch * chunk`` gradients of the decoder.

    Args:
        model: the record of functions; the latent is continuous.
        params: its parameters.
        examples: examples along the first axis of every array.
        key: consumed once.
        num_chains: K.
        num_temperatures: T, steps from $\beta = 0$ to 1, at least 2.
        num_leapfrog: leapfrog steps, and so gradients, at each temperature.
        initial: ``start_from_posterior``, ``start_from_prior`` or another function
            ``(model, params, example)`` to the distribution $p_0(z)$ of the chains' starts.
        schedule: T to the T + 1 temperatures, which rise from 0 to 1.
        chunk: chains at a time.
        batch: examples at a time.

    Returns:
        The estimate and its diagnostics, one of each for every example.

    Raises:
        ValueError: if a size is not positive, T is 1, the schedule does not rise from 0 to 1, or
            the latent is discrete.

    Reference: Neal (2001); Wu, Burda, Salakhutdinov and Grosse (2017), section 3.
    """
    sizes = {"num_chains": num_chains, "num_leapfrog": num_leapfrog, "chunk": chunk, "batch": batch}
    _check_sizes(num_temperatures, **sizes)

    def one(example, number):
        chains = _Chains(model, params, example, num_temperatures, num_leapfrog, initial, schedule)
        tune_key, forward_key = jax.random.split(jax.random.fold_in(key, number))
        step_sizes = chains.tune(tune_key)
        return _estimate(
            lambda key: chains.forward(step_sizes, key), forward_key, num_chains, chunk
        )

    size = _check.examples("annealed_log_likelihood", examples)
    return map_examples(one, examples, jnp.arange(size), batch_size=batch)


@partial(jax.jit, static_argnums=0, static_argnames=("num_examples", *_STATIC))
def bracket_log_likelihood(
    model: LatentVariableModel,
    params: Params,
    *,
    key: PRNGKey,
    num_examples: int,
    num_chains: int,
    num_temperatures: int,
    num_leapfrog: int = 10,
    contexts: PyTree = None,
    initial: Callable[..., Distribution] = start_from_posterior,
    schedule: Callable[[int], np.ndarray] = sigmoidal_schedule,
    chunk: int = 16,
    batch: int = 16,
) -> LikelihoodBracket:
    r"""Bounds of $\log p(x)$ from both sides for examples that are drawn from the model itself.

    $z \sim p(z)$ and $x \sim p(x \mid z)$ make z an exact draw of $p(z \mid x)$, from which chains
    can be run in reverse: their mean weight has the expectation $1/p(x)$, so that
    $-\log\frac1K\sum_k w_k$ is an upper bound in expectation. No such draw is known for real data,
    and a chain that starts elsewhere bounds nothing; hence this function takes no data. Where the
    bounds meet, the same settings of ``annealed_log_likelihood`` can be trusted on data that is
    like the model's own.

    Args:
        model: the record of functions; the latent is continuous.
        params: its parameters.
        key: consumed once.
        num_examples: number of draws.
        num_chains: K, forward and again in reverse; all reverse chains start from the one z.
        num_temperatures: as in ``annealed_log_likelihood``.
        num_leapfrog: likewise.
        contexts: what each draw is conditioned on, ``num_examples`` along the first axis.
        initial: as in ``annealed_log_likelihood``; the posterior sees the draw.
        schedule: likewise.
        chunk: likewise.
        batch: likewise.

    Returns:
        The draws and both bounds, with their diagnostics.

    Raises:
        ValueError: as ``annealed_log_likelihood``.

    Reference: Grosse, Ghahramani and Adams (2015); Wu, Burda, Salakhutdinov and Grosse (2017),
    section 3.2.
    """
    sizes = {"num_chains": num_chains, "num_leapfrog": num_leapfrog, "chunk": chunk, "batch": batch}
    _check_sizes(num_temperatures, num_examples=num_examples, **sizes)

    def one(context, number):
        keys = jax.random.split(jax.random.fold_in(key, number), 5)
        z_key, x_key, tune_key, forward_key, reverse_key = keys
        z = model.prior(params, context).sample(z_key)
        x = model.likelihood(params, z, context).sample(x_key)
        example = Example(x, x, context)
        chains = _Chains(model, params, example, num_temperatures, num_leapfrog, initial, schedule)
        step_sizes = chains.tune(tune_key)
        lower = _estimate(
            lambda key: chains.forward(step_sizes, key), forward_key, num_chains, chunk
        )
        upper = _estimate(
            lambda key: chains.reverse(step_sizes, z, key), reverse_key, num_chains, chunk
        )
        upper = upper._replace(log_likelihood=-upper.log_likelihood)
        return LikelihoodBracket(example, lower, upper)

    return map_examples(one, contexts, jnp.arange(num_examples), batch_size=batch)


class _Chains:
    """The chains of one example."""

    def __init__(self, model, params, example, num_temperatures, num_leapfrog, initial, schedule):
        joint = flat_joint("annealing", model, params, example)
        self._initial = initial(model, params, example)
        self._parts = (lambda z: self._initial.log_prob(joint.unravel(z)), joint.log_density)
        dtype = jax.eval_shape(self._draw, jax.random.key(0)).dtype
        self._temperatures = jnp.asarray(rising(schedule, num_temperatures), dtype)
        self._num_leapfrog = num_leapfrog

    def _draw(self, key: PRNGKey) -> Array:
        return ravel_pytree(self._initial.sample(key))[0]

    def tune(self, key: PRNGKey) -> Array:
        options = {"key": key, "num_leapfrog": self._num_leapfrog}
        return tune(self._parts, self._temperatures, self._draw, **options)

    def forward(self, step_sizes: Array, key: PRNGKey) -> Chain:
        start_key, key = jax.random.split(key)
        options = {"key": key, "num_leapfrog": self._num_leapfrog}
        return anneal(self._parts, self._temperatures, step_sizes, self._draw(start_key), **options)

    def reverse(self, step_sizes: Array, exact: PyTree, key: PRNGKey) -> Chain:
        options = {"key": key, "num_leapfrog": self._num_leapfrog}
        start, _ = ravel_pytree(exact)
        return anneal(self._parts, self._temperatures[::-1], step_sizes[::-1], start, **options)


def _estimate(
    chain: Callable[[PRNGKey], Chain], key: PRNGKey, num_chains: int, chunk: int
) -> AnnealedEstimate:
    """The logarithm of the mean weight."""
    log_weights, acceptance = lax.map(
        lambda number: chain(jax.random.fold_in(key, number)),
        jnp.arange(num_chains),
        batch_size=chunk,
    )
    total = jax.nn.logsumexp(log_weights)
    return AnnealedEstimate(
        log_likelihood=total - jnp.log(jnp.asarray(num_chains, total.dtype)),
        effective_sample_size=jnp.exp(2.0 * total - jax.nn.logsumexp(2.0 * log_weights)),
        acceptance=jnp.mean(acceptance),
        lowest_acceptance=jnp.min(jnp.mean(acceptance, axis=0)),
    )


def _check_sizes(num_temperatures: int, **sizes: int) -> None:
    for name, value in {"num_temperatures": num_temperatures, **sizes}.items():
        _check.positive(name, value)
    if num_temperatures < 2:
        raise ValueError(
            f"num_temperatures expected at least 2, got {num_temperatures}; "
            "one step without transitions is importance_log_likelihood"
        )
