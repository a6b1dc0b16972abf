"""The evidence lower bound."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import kl_by_factor, kl_divergence
from jaxvae.model import Estimate, Example, LatentVariableModel, Params
from jaxvae.objectives import kl as kl_estimators
from jaxvae.objectives.estimators.baselines import Baseline, no_baseline
from jaxvae.objectives.estimators.draws import Draws, GradientEstimator, as_it_is, each
from jaxvae.objectives.estimators.pathwise import pathwise
from jaxvae.objectives.estimators.score import score_of_mean


class ElboSettings(NamedTuple):
    """Numbers that may follow the training step or differ between members of a sweep.

    Attributes:
        beta: weight of the KL term in the surrogate; the reported bound always has 1.
        free_bits: nats of KL in each independent factor of the latent (a dimension of a diagonal
            Normal, the whole of a full one) that the surrogate does not reward saving; None uses
            the plain KL. Whether it is None is static, the number is traced.
        temperature: of the relaxed estimators.
    """

    beta: float | Scalar = 1.0
    free_bits: float | Scalar | None = None
    temperature: float | Scalar = 0.5


def elbo(
    model: LatentVariableModel,
    params: Params,
    example: Example,
    *,
    key: PRNGKey,
    settings: ElboSettings = ElboSettings(),  # noqa: B008 - an immutable tuple
    num_samples: int = 1,
    kl: kl_estimators.KLEstimator = kl_estimators.analytic,
    gradient: GradientEstimator = pathwise,
    baseline: Baseline = no_baseline,
) -> Estimate:
    r"""Estimate of the evidence lower bound of one example, and of its gradient.

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
        settings: beta, free bits and temperature, traced.
        num_samples: L.
        kl: one of ``analytic``, ``monte_carlo``, ``analytic_where_available``,
            ``analytic_entropy``, ``analytic_base``.
        gradient: how the draws carry gradients to the posterior's parameters: ``pathwise``,
            ``sticking_the_landing``, ``score_function``, ``enumerated``, ``gumbel_softmax``,
            ``straight_through``, ``straight_through_gumbel``, or ``by_factor`` of these.
        baseline: what the score-function estimator subtracts: ``no_baseline``, ``leave_one_out``,
            ``learnt_baseline(network)``.

    Returns:
        surrogate, whose gradient is the estimator's and whose value is the objective with beta
        and free bits; the plain bound, at events of q's support; and its parts
        ``reconstruction`` and ``kl``, nats.

    Raises:
        ValueError: if the posterior does not have the chosen gradient, q and p have no KL of
            the chosen kind, the combination makes no sense, or free bits are known to be negative.

    Reference: Bath report, eq. 19; exercise 12, task 2a; thesis draft, eq. 4.11; Heidelberg
        lecture, SGVB; free bits: Kingma et al. (2016), appendix C.8.
    """
    _check.positive("num_samples", num_samples)
    _check.of_type("example of elbo", example, Example)
    _check.of_type("settings of elbo", settings, ElboSettings)
    _check.functions("elbo", kl=kl, gradient=gradient, baseline=baseline)
    q = model.posterior(params, example.inputs, example.context)
    p = model.prior(params, example.context)
    draws = gradient(q, key=key, num_samples=num_samples, temperature=settings.temperature)
    is_closed = kl_estimators.in_closed_form(kl, q, p)
    _check_combination(draws, is_closed, settings, kl, f"{type(q).__name__} || {type(p).__name__}")

    def reconstruct(z):
        likelihood = model.likelihood(params, z, example.context)
        return likelihood.log_prob(example.target)

    def diverge(prior, draw):
        if is_closed:
            return jnp.broadcast_to(kl_divergence(q, p), draw.log_q.shape)
        return each(lambda draw: kl(q, prior(p), draw), draw)

    reconstruction = each(reconstruct, draws.z)
    drawn = kl_estimators.Draw(draws.z, draws.log_q_without_score(), draws.base)
    divergence = diverge(draws.relax_prior, drawn)
    # What does not vary from draw to draw earns none of them anything.
    value = reconstruction if is_closed else reconstruction - settings.beta * divergence
    surrogate = draws.average(value) + score_of_mean(draws, value, baseline, params, example)
    if is_closed:
        penalty = divergence[0, 0]
        if settings.free_bits is not None:
            penalty = jnp.sum(jnp.maximum(kl_by_factor(q, p), settings.free_bits))
        surrogate = surrogate - settings.beta * penalty
    if draws.is_relaxed:
        reconstruction = each(reconstruct, draws.hard)
        hard = kl_estimators.Draw(draws.hard, each(q.log_prob, draws.hard))
        divergence = diverge(as_it_is, hard)
    parts = {"reconstruction": draws.average(reconstruction), "kl": draws.average(divergence)}
    return Estimate(surrogate, parts["reconstruction"] - parts["kl"], parts)


def _check_combination(
    draws: Draws,
    is_closed: bool,
    settings: ElboSettings,
    kl: kl_estimators.KLEstimator,
    pair: str,
) -> None:
    name = getattr(kl, "__name__", kl)
    if draws.is_doubly_reparameterised:
        raise ValueError(
            "doubly_reparameterised expected an importance-weighted bound, got elbo; use iwae, or "
            "sticking_the_landing, which is the same for one sample"
        )
    if draws.is_path_only and (is_closed or kl is kl_estimators.analytic_entropy):
        raise ValueError(
            f"sticking_the_landing expected a sampled KL, got kl={name}, which has no score to "
            "leave out; use kl=monte_carlo"
        )
    if draws.is_relaxed and kl is kl_estimators.analytic_entropy:
        raise ValueError(
            "a relaxed estimator expected kl=analytic (of the discrete variables) or monte_carlo "
            "(of the relaxed ones), got kl=analytic_entropy, which would mix them"
        )
    free_bits = settings.free_bits
    if free_bits is not None and not isinstance(free_bits, Tracer) and free_bits < 0.0:
        raise ValueError(f"free_bits expected nats from 0 on, got {free_bits}; None means none")
    if free_bits is not None and not is_closed:
        raise ValueError(
            "free_bits expected the closed-form KL of each latent dimension (kl=analytic, or "
            f"analytic_where_available where there is one), got kl={name} for {pair}; leave "
            "free_bits=None"
        )
