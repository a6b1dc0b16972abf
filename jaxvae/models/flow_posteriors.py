"""Families of approximate posteriors made by normalising flows of a diagonal Normal."""

from collections.abc import Callable
from itertools import chain

import jax
from jax import Array

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions import Distribution, Transformed
from jaxvae.distributions.flows import Chain, Flow, Planar, Radial, Reversal
from jaxvae.models.posteriors import PosteriorFamily, diagonal_normal, no_parameters
from jaxvae.nn import Coupling, InverseAutoregressive, Network, coupling_mlp, masked_mlp


def planar(layers: int) -> PosteriorFamily:
    """Planar flows whose parameters the encoder gives: 2d + layers (2d + 1) outputs.

    The density of a given latent does not exist in closed form, which mutual information and
    sticking-the-landing gradients would need.

    Args:
        layers: number of flows.

    Raises:
        ValueError: if the number is not positive.

    Reference: Rezende and Mohamed (2015), sections 4.1 and 4.2.

    Example:
        >>> from jaxvae.models import planar
        >>> planar(2).num_outputs(50)
        302
    """

    def flow(outputs: Array, latent_dim: int) -> Flow:
        return Planar(outputs[:latent_dim], outputs[latent_dim:-1], outputs[-1])

    return _amortised("layers of planar", layers, lambda latent_dim: 2 * latent_dim + 1, flow)


def radial(layers: int) -> PosteriorFamily:
    """Radial flows whose parameters the encoder gives: 2d + layers (d + 2) outputs.

    Args:
        layers: number of flows.

    Raises:
        ValueError: if the number is not positive.

    Reference: Rezende and Mohamed (2015), sections 4.1 and 4.2.

    Example:
        >>> from jaxvae.models import radial
        >>> radial(2).num_outputs(50)
        204
    """

    def flow(outputs: Array, latent_dim: int) -> Flow:
        return Radial(outputs[:latent_dim], outputs[-2], outputs[-1])

    return _amortised("layers of radial", layers, lambda latent_dim: latent_dim + 2, flow)


def inverse_autoregressive(
    blocks: int = 2, *, hidden: tuple[int, ...] = (256,), context: int = 64
) -> PosteriorFamily:
    r"""Inverse autoregressive flow: 2d + context outputs, $\mu$, $\log\sigma$ and the context.

    Blocks alternate with reversals, so that each coordinate comes late in one of two; the last
    block leaves the order as it was.

    Args:
        blocks: number of ``nn.InverseAutoregressive``.
        hidden: widths of the hidden layers of each.
        context: what the encoder tells every block, so many numbers; 0 is nothing.

    Raises:
        ValueError: if a size is not positive, or the context negative.

    Reference: Kingma et al. (2016), algorithm 1.

    Example:
        >>> from jaxvae.models import inverse_autoregressive
        >>> inverse_autoregressive(blocks=2, context=32).num_outputs(50)
        132
    """
    for size in (blocks, *hidden):
        _check.positive("a size of inverse_autoregressive", size)

    def network(latent_dim: int) -> Network:
        return masked_mlp(latent_dim, outputs=2, hidden=hidden, context=context)

    return _shared(blocks, context, network, InverseAutoregressive)


def coupling(
    blocks: int = 4, *, hidden: tuple[int, ...] = (256,), context: int = 64
) -> PosteriorFamily:
    r"""Affine coupling: 2d + context outputs, $\mu$, $\log\sigma$ and the context.

    Blocks alternate with reversals, so that two of them change every coordinate; the last block
    leaves the order as it was.

    Args:
        blocks: number of ``nn.Coupling``.
        hidden: widths of the hidden layers of each.
        context: what the encoder tells every block, so many numbers; 0 is nothing.

    Raises:
        ValueError: if a size is not positive, or the context negative; from ``init``, if there is
            one latent and no context.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), sections 3.2 to 3.5.

    Example:
        >>> from jaxvae.models import coupling
        >>> coupling(blocks=4, context=32).num_outputs(50)
        132
    """
    for size in (blocks, *hidden):
        _check.positive("a size of coupling", size)

    def network(latent_dim: int) -> Network:
        return coupling_mlp(latent_dim, hidden=hidden, context=context)

    return _shared(blocks, context, network, Coupling)


def _amortised(
    name: str, layers: int, size: Callable[[int], int], flow: Callable[[Array, int], Flow]
) -> PosteriorFamily:
    """Flows that are functions of ``size`` outputs each."""
    _check.positive(name, layers)

    def build(params: PyTree, outputs: Array, latent_dim: int) -> Distribution:
        del params
        rows = outputs[2 * latent_dim :].reshape(layers, size(latent_dim))
        flows = tuple(flow(row, latent_dim) for row in rows)
        return Transformed(diagonal_normal(outputs, latent_dim), Chain(flows))

    return PosteriorFamily(
        lambda latent_dim: 2 * latent_dim + layers * size(latent_dim), no_parameters, build
    )


def _shared(
    blocks: int,
    context: int,
    network: Callable[[int], Network],
    block: Callable[[PyTree, Array], Flow],
) -> PosteriorFamily:
    """Flows with weights of their own, which the encoder conditions through a context vector."""
    _check.not_negative("context", context)

    def init(key: PRNGKey, latent_dim: int) -> PyTree:
        return [network(latent_dim).init(k) for k in jax.random.split(key, blocks)]

    def build(params: PyTree, outputs: Array, latent_dim: int) -> Distribution:
        # The weights follow the encoder's precision, which is the model's.
        weights = jax.tree.map(lambda leaf: leaf.astype(outputs.dtype), params)
        each = [(block(w, outputs[2 * latent_dim :]), Reversal()) for w in weights]
        flows = tuple(chain.from_iterable(each))
        # An even number of reversals restores the order.
        flows = flows[:-1] if blocks % 2 else flows
        return Transformed(diagonal_normal(outputs, latent_dim), Chain(flows))

    return PosteriorFamily(lambda latent_dim: 2 * latent_dim + context, init, build)
