"""The log-likelihood itself, where it is known."""

from collections.abc import Callable
from typing import Any

from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.model import Estimate, Example


def log_likelihood(
    log_prob: Callable[[PyTree, PyTree], Scalar],
    params: PyTree,
    example: Example,
    *,
    key: PRNGKey,
    settings: Any = None,
) -> Estimate:
    r"""$\log p_\theta(x)$ of one example: maximum likelihood for models without latent variables.

    Args:
        log_prob: ``(params, target)`` to nats, such as that of an autoregressive model.
        params: its parameters.
        example: whose target is scored; ``jax.vmap`` over batches.
        key: not used, as nothing is drawn.
        settings: not used, as there is nothing to weight.

    Returns:
        Surrogate and bound, which are both the log-likelihood; no parts.

    Reference: Chen et al. (2018), section 5.1, for series.

    Example:
        >>> from functools import partial
        >>> from jaxvae import models, nn, objectives
        >>> model = models.autoregressive(nn.recurrent(2, 25))
        >>> loss = partial(objectives.log_likelihood, model.log_prob)
    """
    del key, settings
    value = log_prob(params, example.target)
    return Estimate(surrogate=value, bound=value, parts={})
