"""The joint density of one example as a function of one flat latent vector."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from jaxvae._types import PyTree, Scalar
from jaxvae.model import Example, LatentVariableModel, Params


class FlatJoint(NamedTuple):
    r"""$\log p(x, z \mid c)$ of one example.

    Attributes:
        log_density: of the flat latent, nats.
        unravel: the flat latent to the latent.
    """

    log_density: Callable[[Float[Array, " latent"]], Scalar]
    unravel: Callable[[Float[Array, " latent"]], PyTree]


def flat_joint(
    owner: str, model: LatentVariableModel, params: Params, example: Example
) -> FlatJoint:
    """Flatten the latent of a model.

    Args:
        owner: whom the error speaks of.
        model: the record of functions.
        params: its parameters.
        example: one example.

    Raises:
        ValueError: if the latent is discrete, as then the density has no gradient to follow. A
            continuous latent is one of floating-point numbers whose prior or posterior is
            reparameterised: a mixture may be one of the two.
    """
    prior = model.prior(params, example.context)
    q = model.posterior(params, example.inputs, example.context)
    shapes = jax.eval_shape(prior.sample, jax.random.key(0))
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(shapes)}
    floating = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(shapes))
    if not floating or not (prior.reparameterised or q.reparameterised):
        raise ValueError(
            f"{owner} expected a continuous latent, got the prior {type(prior).__name__} of "
            f"{', '.join(sorted(dtypes))} and the posterior {type(q).__name__}, neither of them "
            "reparameterised; use importance_log_likelihood, or sum over a discrete latent"
        )
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))

    def log_density(flat):
        z = unravel(flat)
        log_likelihood = model.likelihood(params, z, example.context).log_prob(example.target)
        return prior.log_prob(z) + log_likelihood

    return FlatJoint(log_density, unravel)
