"""How much of the latent space a model uses."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae._types import PyTree
from jaxvae.distributions import kl_by_factor, representative
from jaxvae.model import Example, LatentVariableModel, Params, map_examples


@partial(jax.jit, static_argnums=0)
def kl_per_dimension(
    model: LatentVariableModel, params: Params, examples: Example
) -> Float[Array, "*factors"]:
    r"""Mean of $KL(q(z_i \mid x) \| p(z_i))$ over the examples, in nats, for each latent dimension.

    A dimension near zero has collapsed onto the prior: the decoder does without it. Dimensions that
    are not independent count as one, so that a ``Joint`` or a Normal with full covariance gives a
    single number, the whole divergence.

    Args:
        model: the record of functions; posterior and prior need factors with a closed-form KL.
        params: its parameters.
        examples: examples along the first axis of every array.

    Raises:
        ValueError: if the KL has no closed form, as that of a flow or to a mixture.
    """

    def one(example):
        q = model.posterior(params, example.inputs, example.context)
        return kl_by_factor(q, model.prior(params, example.context))

    return jnp.mean(map_examples(one, examples, batch_size=256), axis=0)


@partial(jax.jit, static_argnums=0)
def posterior_means(model: LatentVariableModel, params: Params, examples: Example) -> PyTree:
    """The mean of q(z | x, c) for each example; a tree of means where a latent has several parts.

    Those of a label and a vector are the label's probabilities and the mean of the mixture.
    Where the posterior is a flow, whose mean has no closed form, it is
    ``distributions.representative``: the image of the base's mean.
    """
    return map_examples(
        lambda example: representative(model.posterior(params, example.inputs, example.context)),
        examples,
        batch_size=256,
    )


def active_units(means: PyTree, threshold: float = 0.01) -> PyTree:
    r"""Number of latent dimensions with $\mathrm{Var}_x(E_q[z_i \mid x])$ above the threshold.

    Args:
        means: posterior means of many examples, shape (example, latent), as ``posterior_means``
            gives them; a tree of such where a latent has several parts.
        threshold: the customary 0.01.

    Returns:
        One number, or one for each part.

    Reference: Burda, Grosse and Salakhutdinov (2016), section 5.2.
    """
    return jax.tree.map(lambda part: jnp.sum(jnp.var(part, axis=0) > threshold), means)
