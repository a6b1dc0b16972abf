"""The vocabulary: a latent-variable model is a record of pure functions of ONE example."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxvae import _check
from jaxvae._batches import in_batches
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions import Distribution

EXAMPLES = "examples"
"""Axis name of every ``vmap`` over examples, by which a model finds the rest of its batch."""


class Params(NamedTuple):
    """Parameters, the generative and the inference half apart.

    Attributes:
        generative: theta, of the prior p(z | c) and the likelihood p(x | z, c).
        inference: phi, of the posterior q(z | x, c).
        auxiliary: whatever an estimator learns besides, such as a baseline.
    """

    generative: PyTree
    inference: PyTree
    auxiliary: PyTree = None


class Example(NamedTuple):
    """One observation; what the encoder sees and what is scored may differ.

    Attributes:
        inputs: what the posterior sees.
        target: what the likelihood scores.
        context: what everything is conditioned on and nothing models.
    """

    inputs: PyTree
    target: PyTree
    context: PyTree = None


class Estimate(NamedTuple):
    """What an objective says of one example, in nats.

    Attributes:
        surrogate: what is differentiated and maximised.
        bound: the plain lower bound (beta = 1), whatever is optimised.
        parts: named terms of the bound.
    """

    surrogate: Scalar
    bound: Scalar
    parts: dict[str, Scalar]


class LatentVariableModel(NamedTuple):
    """p(z | c) p(x | z, c) together with q(z | x, c).

    Attributes:
        init: key to fresh parameters.
        prior: ``(params, context)`` to p(z | c).
        likelihood: ``(params, latent, context)`` to p(x | z, c).
        posterior: ``(params, inputs, context)`` to q(z | x, c).
    """

    init: Callable[[PRNGKey], Params]
    prior: Callable[[Params, Any], Distribution]
    likelihood: Callable[[Params, Any, Any], Distribution]
    posterior: Callable[[Params, Any, Any], Distribution]


def map_examples(
    function: Callable[..., PyTree], *arguments: PyTree, batch_size: int | None = None
) -> PyTree:
    """Map a function of one example over many: the one way, in training and everywhere else.

    It is ``jax.vmap`` with an axis name, ``EXAMPLES``, by which a model finds the other examples of
    its batch. A latent ODE with common times solves them all together, so a bound that is mapped
    in another way would belong to another discretisation than the one that was trained.

    Args:
        function: of one example, with one argument for each of ``arguments``.
        arguments: pytrees of arrays with examples along the first axis; None stays None.
        batch_size: examples at a time, in memory that does not grow with their number; None takes
            all at once.

    Returns:
        The results, with examples along the first axis of every array.

    Raises:
        ValueError: if the arrays differ in their number of examples or there are none, or the batch
            size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae import map_examples
        >>> map_examples(jnp.sum, jnp.ones((5, 3)), batch_size=2)
        Array([3., 3., 3., 3., 3.], dtype=float32)
    """
    return in_batches(jax.vmap(function, axis_name=EXAMPLES), arguments, batch_size)


def log_weight(
    model: LatentVariableModel, params: Params, example: Example, *, key: PRNGKey
) -> Scalar:
    r"""One log importance weight, $\log p(z \mid c) + \log p(x \mid z, c) - \log q(z \mid x, c)$.

    Its expectation under $z \sim q$ is the evidence lower bound, and the logarithm of the expected
    weight is $\log p(x \mid c)$. ``jax.vmap`` over keys gives K weights, for which the posterior
    is computed once.

    Args:
        model: the record of functions.
        params: its parameters.
        example: one example.
        key: consumed once.

    Returns:
        The log weight, in nats.

    Reference: AE + VAE notes, "Estimation of the marginal likelihood".
    """
    _check.of_type("example of log_weight", example, Example)
    q = model.posterior(params, example.inputs, example.context)
    z, log_q = q.sample_and_log_prob(key)
    log_joint = model.prior(params, example.context).log_prob(z) + model.likelihood(
        params, z, example.context
    ).log_prob(example.target)
    return log_joint - log_q
