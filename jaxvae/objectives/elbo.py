"""The evidence lower bound."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.model import Estimate, Example, LatentVariableModel, Params
from jaxvae.objectives import kl as kl_estimators


class ElboSettings(NamedTuple):
    """Numbers that may follow the training step or differ between members of a sweep.

    Attributes:
        beta: weight of the KL term in the surrogate; the reported bound always has 1.
    """

    beta: float | Scalar = 1.0


def elbo(
    model: LatentVariableModel,
    params: Params,
    example: Example,
    *,
    key: PRNGKey,
    settings: ElboSettings = ElboSettings(),  # noqa: B008 - an immutable tuple
    num_samples: int = 1,
    kl: kl_estimators.KLEstimator = kl_estimators.analytic,
) -> Estimate:
    r"""Pathwise estimate of the evidence lower bound of one example.

    $$\frac1L\sum_{l=1}^L \log p(x \mid z_l, c) - KL(q \| p),\qquad z_l \sim q(z \mid x, c)$$

    Args:
        model: the record of functions.
        params: its parameters.
        example: one example; ``jax.vmap`` over batches.
        key: consumed once.
        settings: beta, traced.
        num_samples: L.
        kl: one of ``analytic``, ``monte_carlo``, ``analytic_where_available``,
            ``analytic_entropy``.

    Returns:
        surrogate (KL weighted by beta), bound, and the parts ``reconstruction`` and ``kl``, nats.

    Raises:
        ValueError: if the posterior cannot be reparameterised, as the gradient would be wrong, or
            the chosen KL does not exist for the pair.

    Reference: Bath report, eq. 19; exercise 12, task 2a; thesis draft, eq. 4.11.
    """
    _check.positive("num_samples", num_samples)
    q = model.posterior(params, example.inputs, example.context)
    p = model.prior(params, example.context)
    if not q.reparameterised:
        raise ValueError(
            f"elbo expected a posterior with reparameterised samples, got {type(q).__name__}; "
            "its pathwise gradient would ignore how the parameters move the samples"
        )

    def terms(key):
        z, log_q = q.sample_and_log_prob(key)
        likelihood = model.likelihood(params, z, example.context)
        return likelihood.log_prob(example.target), kl(q, p, z, log_q)

    if num_samples == 1:
        reconstruction, divergence = terms(key)
    else:
        samples = jax.vmap(terms)(jax.random.split(key, num_samples))
        reconstruction, divergence = jax.tree.map(jnp.mean, samples)
    return Estimate(
        surrogate=reconstruction - settings.beta * divergence,
        bound=reconstruction - divergence,
        parts={"reconstruction": reconstruction, "kl": divergence},
    )
