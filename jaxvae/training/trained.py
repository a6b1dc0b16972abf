"""A trained model in a notebook: batched, compiled encode, reconstruct and sample."""

from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
from jax import Array

from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions import batch_axes, batched, representative
from jaxvae.model import LatentVariableModel, Params


class Trained(NamedTuple):
    """A model with its parameters; every method takes and gives arrays with a batch axis.

    Attributes:
        model: the record of functions of one example.
        params: its parameters.
    """

    model: LatentVariableModel
    params: Params

    def encode(self, inputs: PyTree, context: PyTree = None) -> Any:
        """q(z | x, c) of each row: a distribution whose arrays have a leading batch axis.

        A flow's weights are held once for all rows; ``jax.vmap`` takes such a batch apart with
        ``in_axes=distributions.batch_axes(codes)``.
        """
        return _encode(self.model, self.params, inputs, context)

    def decode(self, latents: PyTree, context: PyTree = None) -> Array:
        """E[x | z, c] for each row of latents."""
        return _decode(self.model, self.params, latents, context)

    def reconstruct(self, inputs: PyTree, context: PyTree = None) -> Array:
        """E[x | z, c] at the posterior mean of each row; at ``representative`` for a flow."""
        return self.decode(_representatives(self.encode(inputs, context)), context)

    def sample(self, num_samples: int, *, key: PRNGKey, context: PyTree = None) -> Array:
        """E[x | z, c] at draws of z from the prior; one row of context for each sample, or none."""
        keys = jax.random.split(key, num_samples)
        return _sample(self.model, self.params, keys, context)


def members_of(params: PyTree, count: int | None) -> list[PyTree]:
    """The parameters of each member of a run of ``count`` seeds; None is a run without the axis."""
    if count is None:
        return [params]
    return [jax.tree.map(itemgetter(index), params) for index in range(count)]


@partial(jax.jit, static_argnums=0)
def _encode(model: LatentVariableModel, params: Params, inputs: Any, context: Any) -> Any:
    return batched(lambda x, c: model.posterior(params, x, c), (inputs, context))


@jax.jit
def _representatives(codes: PyTree) -> PyTree:
    return jax.vmap(representative, in_axes=(batch_axes(codes),))(codes)


@partial(jax.jit, static_argnums=0)
def _decode(model: LatentVariableModel, params: Params, latents: Any, context: Any) -> Array:
    return jax.vmap(lambda z, c: model.likelihood(params, z, c).mean)(latents, context)


@partial(jax.jit, static_argnums=0)
def _sample(model: LatentVariableModel, params: Params, keys: Array, context: Any) -> Array:
    def one(key, context):
        z = model.prior(params, context).sample(key)
        return model.likelihood(params, z, context).mean

    return jax.vmap(one)(keys, context)
