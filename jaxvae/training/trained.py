"""A trained model in a notebook: batched, compiled encode, reconstruct and sample."""

from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
from jax import Array

from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions import Batch, batched, representative
from jaxvae.model import EXAMPLES, LatentVariableModel, Params, map_examples


class Trained(NamedTuple):
    """A model with its parameters; every method takes and gives arrays with a batch axis.

    Attributes:
        model: the record of functions of one example.
        params: its parameters.
    """

    model: LatentVariableModel
    params: Params

    def encode(self, inputs: PyTree, context: PyTree = None) -> Batch:
        """q(z | x, c) of each row: ``.mean``, ``.variance``, ``.sample(key)``, ``[row]`` and so on.

        A latent of several parts, such as a label and a vector, has a mean of as many. What all
        rows share, such as a flow's weights, is held once.
        """
        return Batch(_encode(self.model, self.params, inputs, context))

    def decode(self, latents: PyTree, context: PyTree = None) -> Array:
        """E[x | z, c] for each row of latents."""
        return _decode(self.model, self.params, latents, context)

    def reconstruct(self, inputs: PyTree, context: PyTree = None) -> Array:
        """E[x | z, c] at the ``latents`` of the rows."""
        return self.decode(self.latents(inputs, context), context)

    def latents(self, inputs: PyTree, context: PyTree = None) -> PyTree:
        """The latent that stands for each row: the mean of q, or ``representative`` for a flow.

        It has the structure of a latent. Where that is a label and a vector, they are the label's
        probabilities and the mean of the mixture over labels.
        """
        return _representatives(self.encode(inputs, context))

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
    return batched(
        lambda x, c: model.posterior(params, x, c), (inputs, context), axis_name=EXAMPLES
    )


@jax.jit
def _representatives(codes: Batch) -> PyTree:
    return codes.map(representative)


@partial(jax.jit, static_argnums=0)
def _decode(model: LatentVariableModel, params: Params, latents: Any, context: Any) -> Array:
    return map_examples(lambda z, c: model.likelihood(params, z, c).mean, latents, context)


@partial(jax.jit, static_argnums=0)
def _sample(model: LatentVariableModel, params: Params, keys: Array, context: Any) -> Array:
    def one(key, context):
        z = model.prior(params, context).sample(key)
        return model.likelihood(params, z, context).mean

    return map_examples(one, keys, context)
