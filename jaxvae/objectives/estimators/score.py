"""The score-function estimator, which needs no derivative of the model along the latent."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import Distribution
from jaxvae.model import Example, Params
from jaxvae.objectives.estimators.baselines import Baseline, Credit, no_baseline
from jaxvae.objectives.estimators.draws import (
    Draws,
    check_fixed_support,
    each,
    repeat,
    sampled,
)


def score_function(
    q: Distribution, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
) -> Draws:
    r"""The score-function gradient, $f(z)\nabla_\phi\log q_\phi(z)$ (REINFORCE).

    It holds for any distribution with a density or mass, whose support does not move with
    the parameters, and its variance is that of f unless a ``baseline`` is subtracted from f.

    Raises:
        ValueError: if a parameter that is no constant moves the support of q, as its score does
            not have mean zero and the gradient would be wrong; see
            ``distributions.moving_support``.

    Reference: Heidelberg lecture, SGVB ("score gradient"); Williams (1992).
    """
    del temperature
    check_fixed_support("score_function", q)
    z = lax.stop_gradient(repeat(q.sample, key, num_samples))
    log_q = each(q.log_prob, z)
    return sampled(z, log_q, score=log_q, has_gradient=False)


def score_of_mean(
    draws: Draws, values: Float[Array, "L M"], baseline: Baseline, params: Params, example: Example
) -> float | Scalar:
    r"""``score_term`` of $\frac1L\sum_l f_l$, where each draw earns its own term."""
    rows = draws.row_sums(values)
    number = len(rows)
    credit = Credit(rows / number, mean_of_others(rows) / number, 1.0 / number)
    return score_term(draws, values, credit, baseline, params, example)


def mean_of_others(values: Float[Array, " L"]) -> Float[Array, " L"]:
    """For each value the mean of all others, 0 if there are none."""
    number = len(values)
    # Not the total less the value, which is -inf + inf where a weight is zero.
    others = jnp.where(jnp.eye(number, dtype=bool), 0.0, values[None, :])
    return jnp.sum(others, axis=1) / max(number - 1, 1)


def score_term(
    draws: Draws,
    values: Float[Array, "L M"],
    credit: Credit,
    baseline: Baseline,
    params: Params,
    example: Example,
) -> float | Scalar:
    r"""0, whose gradient is the score-function estimator's and that of what the baseline learns.

    $$\sum_{lm} w_{lm}(s f_{lm} - b_l)\nabla\log q(z_{lm})$$

    with the share s and the baseline $b_l$.

    Args:
        draws: z and its scores.
        values: $f_{lm}$.
        credit: of each draw.
        baseline: what is subtracted from it.
        params: parameters of the model, for the baseline.
        example: for the baseline.

    Raises:
        ValueError: if there is a baseline and no draw without a gradient.
    """
    if draws.score is None:
        if baseline is not no_baseline:
            raise ValueError(
                "a baseline expected gradient=score_function for some factor of the latent, got "
                "draws that all carry gradients; leave baseline=no_baseline"
            )
        return 0.0
    learnt = baseline(credit, params, example)
    subtracted = credit.value - learnt.signal
    signal = draws.weight * (credit.share * values - subtracted[:, None])
    term = jnp.sum(lax.stop_gradient(signal) * draws.score) + learnt.fit
    return term - lax.stop_gradient(term)
