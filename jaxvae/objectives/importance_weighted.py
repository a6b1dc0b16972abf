"""Bounds of several importance weights: IWAE and Renyi's family."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.distributions import Distribution
from jaxvae.model import Estimate, Example, LatentVariableModel, Params
from jaxvae.objectives.estimators.baselines import Baseline, Credit, no_baseline
from jaxvae.objectives.estimators.draws import Draws, GradientEstimator, each
from jaxvae.objectives.estimators.pathwise import pathwise, scale_gradient
from jaxvae.objectives.estimators.score import mean_of_others, score_term


class ImportanceSettings(NamedTuple):
    """Numbers that may follow the training step or differ between members of a sweep.

    Attributes:
        temperature: of the relaxed estimators.
    """

    temperature: float | Scalar = 0.5


def iwae(
    model: LatentVariableModel,
    params: Params,
    example: Example,
    *,
    key: PRNGKey,
    settings: ImportanceSettings = ImportanceSettings(),  # noqa: B008 - an immutable tuple
    num_samples: int,
    gradient: GradientEstimator = pathwise,
    baseline: Baseline = no_baseline,
) -> Estimate:
    r"""The importance-weighted bound of one example, which tightens with K.

    $$\log\frac1K\sum_{k=1}^K w_k,\qquad
    w_k = \frac{p(z_k \mid c)\,p(x \mid z_k, c)}{q(z_k \mid x, c)},\quad z_k \sim q(z \mid x, c)$$

    Args:
        model: the record of functions.
        params: its parameters.
        example: one example; ``jax.vmap`` over batches.
        key: consumed once.
        settings: temperature, traced.
        num_samples: K; with 1 it is the ELBO with a sampled KL.
        gradient: as for ``elbo``, with ``doubly_reparameterised`` besides. The signal-to-noise
            ratio of the pathwise gradient of the posterior falls as $1/\sqrt K$, that of the
            doubly reparameterised one grows as $\sqrt K$.
        baseline: of ``score_function``; ``leave_one_out`` is VIMCO.

    Returns:
        surrogate, whose gradient is the estimator's and whose value is the bound; the bound; and
        the part ``elbo``, the mean log weight, which the bound is never below. Nats.

    Raises:
        ValueError: if the posterior does not have the chosen gradient, or it is ``enumerated``.

    Reference: Burda, Grosse and Salakhutdinov (2016), eq. 8; AE + VAE notes, "Estimation of the
        marginal likelihood"; Rainforth et al. (2018) and Tucker et al. (2019) for the ratios.
    """
    return renyi(
        model,
        params,
        example,
        key=key,
        settings=settings,
        num_samples=num_samples,
        alpha=0.0,
        gradient=gradient,
        baseline=baseline,
    )


def renyi(
    model: LatentVariableModel,
    params: Params,
    example: Example,
    *,
    key: PRNGKey,
    settings: ImportanceSettings = ImportanceSettings(),  # noqa: B008 - an immutable tuple
    num_samples: int,
    alpha: float,
    gradient: GradientEstimator = pathwise,
    baseline: Baseline = no_baseline,
) -> Estimate:
    r"""The variational Renyi bound of one example, between the ELBO and the evidence.

    $$\frac{1}{1 - \alpha}\log\frac1K\sum_{k=1}^K w_k^{1 - \alpha}$$

    With $\alpha = 0$ it is ``iwae``; for $\alpha \to 1$ it tends to the ELBO.

    Args:
        model: the record of functions.
        params: its parameters.
        example: one example; ``jax.vmap`` over batches.
        key: consumed once.
        settings: temperature, traced.
        num_samples: K.
        alpha: $\alpha$, in [0, 1), where the estimate is a lower bound in expectation.
        gradient: as for ``iwae``.
        baseline: as for ``iwae``.

    Returns:
        As ``iwae``.

    Raises:
        ValueError: as ``iwae``, and if $\alpha$ lies outside [0, 1).

    Reference: Li and Turner (2016), eq. 6 and theorem 2.
    """
    _check.positive("num_samples", num_samples)
    _check.of_type("example of an importance-weighted bound", example, Example)
    _check.of_type("settings of an importance-weighted bound", settings, ImportanceSettings)
    _check.functions("an importance-weighted bound", gradient=gradient, baseline=baseline)
    if not 0.0 <= alpha < 1.0:
        raise ValueError(
            f"alpha expected a number in [0, 1), where the bound is one, got {alpha}; alpha = 1 "
            "is elbo with kl=monte_carlo"
        )
    q = model.posterior(params, example.inputs, example.context)
    p = model.prior(params, example.context)
    draws = gradient(q, key=key, num_samples=num_samples, temperature=settings.temperature)
    if draws.weight.shape[1] != 1:
        raise ValueError(
            "an importance-weighted bound expected sampled latents, got enumerated ones; use elbo"
        )

    def log_weights(prior, z, log_q) -> Float[Array, " K"]:
        def log_weight(z, log_q):
            likelihood = model.likelihood(params, z, example.context)
            return prior.log_prob(z) + likelihood.log_prob(example.target) - log_q

        return each(log_weight, z, log_q)[:, 0]

    prior = draws.relax_prior(p)
    log_w = log_weights(prior, draws.z, draws.log_q)
    if draws.is_doubly_reparameterised:
        log_w = log_weights(prior, *_rescaled(draws, q, log_w, alpha))
    value = _bound(log_w, alpha)
    surrogate = value + _score_of_bound(draws, log_w, alpha, baseline, params, example)
    if draws.is_relaxed:
        log_w = log_weights(p, draws.hard, each(q.log_prob, draws.hard))
    return Estimate(surrogate, _bound(log_w, alpha), {"elbo": jnp.mean(log_w)})


def _bound(log_w: Float[Array, " K"], alpha: float) -> Scalar:
    order = 1.0 - alpha
    largest = lax.stop_gradient(jnp.max(log_w))
    largest = jnp.where(jnp.isneginf(largest), 0.0, largest)
    relative = order * (log_w - largest)
    # Near alpha = 1 the mean is near one, and dividing by the order would show how it rounds.
    excess = jnp.mean(jnp.expm1(relative))
    log_mean = jnp.where(excess > -0.5, jnp.log1p(excess), jnp.log(jnp.mean(jnp.exp(relative))))
    return largest + log_mean / order


def _rescaled(
    draws: Draws, q: Distribution, log_w: Float[Array, " K"], alpha: float
) -> tuple[PyTree, Float[Array, "K 1"]]:
    """The same draws and log q, with the doubly reparameterised gradient along the draws."""
    weight = jax.nn.softmax((1.0 - alpha) * lax.stop_gradient(log_w))
    z = each(scale_gradient, draws.z, (alpha + (1.0 - alpha) * weight)[:, None])
    log_q = each(lax.stop_gradient(q).log_prob, z)
    if draws.score is not None:  # whose direct derivative stays
        log_q = log_q + draws.score - lax.stop_gradient(draws.score)
    return z, log_q


def _score_of_bound(
    draws: Draws,
    log_w: Float[Array, " K"],
    alpha: float,
    baseline: Baseline,
    params: Params,
    example: Example,
) -> float | Scalar:
    """Every draw earns the whole bound, less the bound with its weight guessed from the others."""
    number = len(log_w)
    value = jnp.broadcast_to(_bound(log_w, alpha), (number,))
    guessed = mean_of_others(log_w)[:, None]
    replaced = jnp.where(jnp.eye(number, dtype=bool), guessed, log_w[None, :])
    others = jax.vmap(lambda log_w: _bound(log_w, alpha))(replaced)
    credit = Credit(value, others, 1.0)
    return score_term(draws, value[:, None], credit, baseline, params, example)
