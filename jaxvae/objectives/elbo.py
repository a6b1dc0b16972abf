"""The evidence lower bound."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import Distribution, has_closed_form, kl_by_factor
from jaxvae.model import Estimate, Example, LatentVariableModel, Params
from jaxvae.objectives import kl as kl_estimators


class ElboSettings(NamedTuple):
    """Numbers that may follow the training step or differ between members of a sweep.

    Attributes:
        beta: weight of the KL term in the surrogate; the reported bound always has 1.
        free_bits: nats of KL in each latent dimension that the surrogate does not reward saving;
            None uses the plain KL. Whether it is None is static, the number is traced.
    """

    beta: float | Scalar = 1.0
    free_bits: float | Scalar | None = None


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

    The surrogate weights the KL by beta. With free bits $\lambda$ its KL is
    $\sum_i\max(KL(q_i \| p_i), \lambda)$ over the latent dimensions, so that a dimension below
    $\lambda$ feels the reconstruction alone. The maximum is taken for each example; Kingma et al.
    average $KL_i$ over the minibatch first, which lets examples share what is free.

    Args:
        model: the record of functions.
        params: its parameters.
        example: one example; ``jax.vmap`` over batches.
        key: consumed once.
        settings: beta and free bits, traced.
        num_samples: L.
        kl: one of ``analytic``, ``monte_carlo``, ``analytic_where_available``,
            ``analytic_entropy``.

    Returns:
        surrogate, and the plain bound and its parts ``reconstruction`` and ``kl``, nats.

    Raises:
        ValueError: if the posterior cannot be reparameterised, as the gradient would be wrong, or
            the chosen KL does not exist for the pair, or free bits meet a KL that is sampled.

    Reference: Bath report, eq. 19; exercise 12, task 2a; thesis draft, eq. 4.11; free bits:
        Kingma et al. (2016), appendix C.8.
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
    penalty = divergence
    if settings.free_bits is not None:
        penalty = _kl_above_free_bits(q, p, settings.free_bits, kl)
    return Estimate(
        surrogate=reconstruction - settings.beta * penalty,
        bound=reconstruction - divergence,
        parts={"reconstruction": reconstruction, "kl": divergence},
    )


def _kl_above_free_bits(
    q: Distribution, p: Distribution, free_bits: float | Scalar, kl: kl_estimators.KLEstimator
) -> Scalar:
    r"""$\sum_i\max(KL(q_i \| p_i), \lambda)$."""
    in_closed_form = kl in (kl_estimators.analytic, kl_estimators.analytic_where_available)
    if not (in_closed_form and has_closed_form(q, p)):
        raise ValueError(
            "free_bits expected the closed-form KL of each latent dimension (kl=analytic, or "
            f"analytic_where_available where there is one), got kl={getattr(kl, '__name__', kl)} "
            f"for {type(q).__name__} || {type(p).__name__}; leave free_bits=None"
        )
    return jnp.sum(jnp.maximum(kl_by_factor(q, p), free_bits))
