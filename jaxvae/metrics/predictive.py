"""The posterior predictive distribution, by importance sampling of the latents."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey
from jaxvae.model import Example, LatentVariableModel, Params, map_examples


class Predictive(NamedTuple):
    r"""The distribution of new values given an example, from K weighted samples of its latents.

    Attributes:
        mean: $\sum_k w_k E[x^* \mid z_k]$, shape (example, \*event).
        draws: of $x^*$, shape (example, draw, \*event); their quantiles are bands.
        means: of the likelihood at the latents of ``draws``, the paths without noise; same shape.
        effective_sample_size: $1/\sum_k w_k^2$ of the normalised weights, from 1 to K. Where no
            sample has weight it is NaN, and so is all else.
    """

    mean: Float[Array, "example *event"]
    draws: Float[Array, "example draw *event"]
    means: Float[Array, "example draw *event"]
    effective_sample_size: Float[Array, " example"]


def _itself(posterior: Any) -> Any:
    return posterior


@partial(
    jax.jit, static_argnums=0, static_argnames=("num_samples", "num_draws", "proposal", "batch")
)
def posterior_predictive(
    model: LatentVariableModel,
    params: Params,
    examples: Example,
    contexts: Any = None,
    *,
    key: PRNGKey,
    num_samples: int = 128,
    num_draws: int = 16,
    proposal: Callable[[Any], Any] = _itself,
    batch: int = 1,
) -> Predictive:
    r"""$p(x^* \mid x, c^*) = \int p(x^* \mid z, c^*)\, p(z \mid x, c)\, dz$ by importance sampling.

    $$p(z \mid x, c) \approx \sum_k w_k \delta_{z_k}, \quad z_k \sim r(z), \quad
      w_k \propto \frac{p(z_k \mid c)\, p(x \mid z_k, c)}{r(z_k)}$$

    With one sample and q as proposal this is the usual forecast from one draw of q; with many it
    corrects what q got wrong, as far as its samples reach. The latents of the draws are taken in
    proportion to the weights, systematically (Kitagawa, 1996). All samples of an example are
    decoded side by side, and count as the batch of a solve for common times.

    Args:
        model: the record of functions; its likelihood needs a mean and samples.
        params: its parameters.
        examples: examples along the first axis of every array: what is known.
        contexts: $c^*$, likewise, of what is predicted, such as other times of a latent ODE; None
            predicts the target itself in the example's own context, where a mask says
            what is known.
        key: consumed once.
        num_samples: K.
        num_draws: draws from the predictive distribution.
        proposal: from q(z | x, c) to r, which should be as wide as the posterior or wider.
        batch: examples at a time.

    Returns:
        Mean, draws and the effective sample size, one of each for every example.

    Raises:
        ValueError: if a size is not positive, or examples and contexts differ in number.

    Reference: AE + VAE notes, "Estimation of the marginal likelihood", for the weights; Chen et
        al. (2018), section 5, for the prediction.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import Example, metrics, models, nn
        >>> model = models.vae(
        ...     encoder=nn.mlp((3,), (4,)), decoder=nn.mlp((2,), (3,)), latent_dim=2
        ... )
        >>> rows = jnp.ones((5, 3))
        >>> found = metrics.posterior_predictive(
        ...     model, model.init(jax.random.key(0)), Example(rows, rows), key=jax.random.key(1)
        ... )
        >>> found.mean.shape, jnp.quantile(found.draws, jnp.array([0.05, 0.95]), axis=1).shape
        ((5, 3), (2, 5, 3))
    """
    for name, size in (("num_samples", num_samples), ("num_draws", num_draws), ("batch", batch)):
        _check.positive(name, size)

    def one(example, context, key) -> Predictive:
        sample_key, resample_key, draw_key = jax.random.split(key, 3)
        r = proposal(model.posterior(params, example.inputs, example.context))
        prior = model.prior(params, example.context)

        def weighted(key: PRNGKey):
            z, log_r = r.sample_and_log_prob(key)
            likelihood = model.likelihood(params, z, example.context)
            log_w = prior.log_prob(z) + likelihood.log_prob(example.target) - log_r
            predicted = likelihood if context is None else model.likelihood(params, z, context)
            return log_w, predicted

        keys = jax.random.split(sample_key, num_samples)
        log_weights, predicted = map_examples(weighted, keys)
        weights = jax.nn.softmax(log_weights)
        means = jax.vmap(lambda one: one.mean)(predicted)
        chosen = _systematic(weights, num_draws, resample_key)
        draw_keys = jax.random.split(draw_key, num_draws)
        draws = jax.vmap(lambda k, key: jax.tree.map(lambda x: x[k], predicted).sample(key))(
            chosen, draw_keys
        )
        size = 1.0 / jnp.sum(weights**2)
        found = Predictive(
            mean=jnp.tensordot(weights.astype(means.dtype), means, 1),
            draws=draws,
            means=means[chosen],
            effective_sample_size=size,
        )
        return jax.tree.map(lambda x: jnp.where(jnp.isnan(size), jnp.nan, x), found)

    count = _check.examples("posterior_predictive", (examples, contexts))
    return map_examples(one, examples, contexts, jax.random.split(key, count), batch_size=batch)


def _systematic(weights: Array, count: int, key: PRNGKey) -> Array:
    """Indices of evenly spaced quantiles of the weights, with one offset for all."""
    offset = jax.random.uniform(key, dtype=weights.dtype)
    sums = jnp.cumsum(weights)
    places = sums[-1] * (jnp.arange(count, dtype=weights.dtype) + offset) / count
    # From the right, and below the sum of all, so that a weight of 0 is never chosen.
    below = jnp.minimum(places, jnp.nextafter(sums[-1], jnp.zeros_like(offset)))
    return jnp.searchsorted(sums, below, side="right")
