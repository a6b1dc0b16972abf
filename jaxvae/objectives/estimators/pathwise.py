"""Estimators that differentiate through the samples."""

from collections.abc import Callable

import jax
from jax import Array, lax
from jaxtyping import Float

from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import Distribution, Noise, Reparameterisable, Transformed
from jaxvae.objectives.estimators.draws import (
    Draws,
    GradientEstimator,
    check_fixed_support,
    each,
    repeat,
    sampled,
)


def pathwise(
    q: Distribution, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
) -> Draws:
    r"""The reparameterised gradient, $\nabla_\phi f(g_\phi(\varepsilon))$.

    Raises:
        ValueError: if samples of q are not reparameterised, as the gradient would be wrong.

    Reference: Heidelberg lecture, SGVB; Bath report, eqs. 15 to 18; Kingma and Welling (2014).
    """
    del temperature
    _check_reparameterised("pathwise", q)
    if isinstance(q, Transformed):
        return _along(q, repeat(q.noise.sample, key, num_samples))
    z, log_q = repeat(q.sample_and_log_prob, key, num_samples)
    return sampled(z, log_q)


def pathwise_from(
    draw_noise: Callable[[Noise, PRNGKey, int], Array],
) -> GradientEstimator:
    r"""``pathwise`` with noise that is spread more evenly than independent draws.

    Args:
        draw_noise: ``distributions.sampling.antithetic_noise`` or ``sobol_noise``.

    Returns:
        An estimator for distributions with an explicit transformation; ValueError for others, and
        for a single draw, which cannot be spread. In ``by_factor`` of a ``Joint`` each component is
        drawn on its own, as it has a label of its own: use ``pathwise`` for components.

    Example:
        >>> from jaxvae import distributions, objectives
        >>> gradient = objectives.pathwise_from(distributions.sampling.antithetic_noise)
    """

    def estimator(
        q: Distribution, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
    ) -> Draws:
        del temperature
        if not isinstance(q, Reparameterisable):
            raise ValueError(
                "pathwise_from expected a distribution with an explicit transformation of noise, "
                f"got {type(q).__name__}; use pathwise"
            )
        if num_samples < 2:
            raise ValueError(
                "pathwise_from expected at least 2 draws to spread, got 1; use pathwise, also for "
                "the component of a Joint, of which one is drawn for each label"
            )
        return _along(q, draw_noise(q.noise, key, num_samples)[:, None])

    return estimator


def sticking_the_landing(
    q: Distribution, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
) -> Draws:
    r"""The pathwise gradient without the score, $\log q_{\bar\phi}(g_\phi(\varepsilon))$.

    The direct derivative of $\log q_\phi$ with respect to its parameters has mean zero in the
    ELBO and is left out: with the exact posterior nothing random remains. In an
    importance-weighted bound leaving it out is a bias, which ``doubly_reparameterised`` mends.

    Raises:
        ValueError: if samples of q are not reparameterised, or a parameter that is no constant
            moves the support of q, as its score does not have mean zero.

    Reference: Roeder, Wu and Duvenaud (2017), eq. 4.
    """
    del temperature
    _check_reparameterised("sticking_the_landing", q)
    check_fixed_support("sticking_the_landing", q)
    z = repeat(q.sample, key, num_samples)
    return sampled(z, each(lax.stop_gradient(q).log_prob, z), is_path_only=True)


def doubly_reparameterised(
    q: Distribution, *, key: PRNGKey, num_samples: int, temperature: float | Scalar = 0.0
) -> Draws:
    r"""DReG: the score inside an importance-weighted bound, reparameterised once more.

    The gradient through $z_k$ is $\sum_k \tilde w_k^2\,\partial_z\log w_k\,\partial_\phi z_k$ with
    normalised weights $\tilde w$, and that of the generative parameters is
    $\sum_k\tilde w_k\nabla_\theta\log w_k$ as always. Unbiased for ``iwae``; for ``renyi`` the
    factor is $\alpha\tilde w_k + (1 - \alpha)\tilde w_k^2$.

    Raises:
        ValueError: if samples of q are not reparameterised, or a parameter that is no constant
            moves the support of q, as its score does not have mean zero.

    Reference: Tucker, Lawson, Gu and Maddison (2019), eq. 8.
    """
    del temperature
    _check_reparameterised("doubly_reparameterised", q)
    check_fixed_support("doubly_reparameterised", q)
    z = repeat(q.sample, key, num_samples)
    log_q = each(lax.stop_gradient(q).log_prob, z)
    return sampled(z, log_q, is_path_only=True, is_doubly_reparameterised=True)


def _along(q: Reparameterisable, noise: Float[Array, "L 1 *noise"]) -> Draws:
    """Draws from given noise, with the draws of a flow's base."""
    z, log_q = each(q.transform_and_log_prob, noise)
    base = each(q.base.transform, noise) if isinstance(q, Transformed) else None
    return sampled(z, log_q, base=base)


def _check_reparameterised(owner: str, q: Distribution) -> None:
    if not q.reparameterised:
        raise ValueError(
            f"{owner} expected reparameterised samples, got {type(q).__name__}; its "
            "pathwise gradient would ignore how the parameters move the samples: use "
            "gradient=score_function, enumerated or gumbel_softmax, or by_factor for each part"
        )


@jax.custom_vjp
def scale_gradient(value, factor):
    """``value``, whose cotangent is multiplied by ``factor``."""
    del factor
    return value


def _scale_forward(value, factor):
    return value, factor


def _scale_backward(factor, cotangent):
    scaled = jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), cotangent)
    return scaled, None


scale_gradient.defvjp(_scale_forward, _scale_backward)
