"""Families of approximate posteriors: what an encoder's output becomes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax import Array

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions import Distribution, LowRankNormal, MultivariateNormal, Normal


class PosteriorFamily(NamedTuple):
    """How many numbers an encoder has to give, and the distribution that they become.

    Attributes:
        num_outputs: the number of latents d, to that of the encoder's outputs.
        init: ``(key, d)`` to parameters that all examples share, such as a flow's weights; None
            where there are none.
        build: ``(parameters, outputs, d)`` to q(z | x).
    """

    num_outputs: Callable[[int], int]
    init: Callable[[PRNGKey, int], PyTree]
    build: Callable[[PyTree, Array, int], Distribution]


class Inference(NamedTuple):
    """The inference half of a model's parameters.

    Attributes:
        encoder: of the network.
        posterior: what the posterior family has besides; None where it has nothing.
    """

    encoder: PyTree
    posterior: PyTree = None


def posterior_of(
    owner: str, family: PosteriorFamily, params: PyTree, outputs: Array, latent_dim: int
) -> Distribution:
    """q(z | x, c) from an encoder's output.

    Raises:
        ValueError: if the output has not the size that the family needs.
    """
    needed = family.num_outputs(latent_dim)
    if outputs.shape != (needed,):
        raise ValueError(
            f"{owner} expected an encoder with {needed} outputs (posterior.num_outputs of "
            f"{latent_dim} latents), got shape {outputs.shape}; change the encoder, latent_dim "
            "or the posterior"
        )
    return family.build(params, outputs, latent_dim)


def no_parameters(key: PRNGKey, latent_dim: int) -> None:
    """The ``init`` of a family without parameters of its own."""
    del key, latent_dim


def diagonal_normal(outputs: Array, latent_dim: int) -> Normal:
    r"""N($\mu$, diag $\sigma^2$) from the first 2d outputs, $\mu$ followed by $\log\sigma$."""
    return Normal(outputs[:latent_dim], outputs[latent_dim : 2 * latent_dim])


def diagonal() -> PosteriorFamily:
    r"""N($\mu$, diag $\sigma^2$): 2d outputs, $\mu$ followed by $\log\sigma$.

    Reference: AE + VAE notes, "An Example", case 1; Bath report, section 4.3.

    Example:
        >>> from jaxvae.models import diagonal
        >>> diagonal().num_outputs(50)
        100
    """

    def build(params: PyTree, outputs: Array, latent_dim: int) -> Distribution:
        del params
        return diagonal_normal(outputs, latent_dim)

    return PosteriorFamily(lambda latent_dim: 2 * latent_dim, no_parameters, build)


def full_covariance() -> PosteriorFamily:
    r"""N($\mu$, $LL^\top$): d(d + 3)/2 outputs, $\mu$, $\log\sigma$ and what is below the diagonal.

    $L_{ii} = \sigma_i$ and $L_{ij} = \sigma_i a_{ij}/(8d)$ with the outputs a, row by row, relative
    to the scale of their coordinate. Optimisers that give each weight steps of one size, as RMSprop
    and Adam do, move all $d^2/2$ entries about equally, most of them by noise alone; divided by d,
    the divergence that this costs does not grow with d. The eighth is measured: on binarised MNIST
    with 128 latents a factor of 0.001 gave a test bound of -98.1 nats, 0.0003 gave -98.4, 0.0078
    -101.1, and the diagonal Normal -98.9 (one seed each).

    Reference: AE + VAE notes, "An Example", case 2.

    Example:
        >>> from jaxvae.models import full_covariance
        >>> full_covariance().num_outputs(50)
        1325
    """

    def build(params: PyTree, outputs: Array, latent_dim: int) -> Distribution:
        del params
        base = diagonal_normal(outputs, latent_dim)
        rows, _ = np.tril_indices(latent_dim, -1)
        lower = outputs[2 * latent_dim :] * base.scale[rows] / (8 * latent_dim)
        return MultivariateNormal(base.loc, base.log_scale, lower)

    return PosteriorFamily(
        lambda latent_dim: 2 * latent_dim + latent_dim * (latent_dim - 1) // 2,
        no_parameters,
        build,
    )


def low_rank(rank: int) -> PosteriorFamily:
    r"""N($\mu$, diag $\sigma^2$ + $FF^\top$): (2 + r)d outputs, $\mu$, $\log\sigma$ and F.

    $F_{ij} = \sigma_i a_{ij}/\sqrt r$ with the outputs a, row by row, relative to the scale of
    their coordinate; the root keeps a row's sum of squares independent of the rank.

    Args:
        rank: r, the number of columns of F.

    Raises:
        ValueError: if the rank is not positive.

    Example:
        >>> from jaxvae.models import low_rank
        >>> low_rank(3).num_outputs(50)
        250
    """
    _check.positive("rank", rank)

    def build(params: PyTree, outputs: Array, latent_dim: int) -> Distribution:
        del params
        base = diagonal_normal(outputs, latent_dim)
        factor = outputs[2 * latent_dim :].reshape(latent_dim, rank) / math.sqrt(rank)
        return LowRankNormal(base.loc, base.log_scale, factor * base.scale[:, None])

    return PosteriorFamily(lambda latent_dim: (2 + rank) * latent_dim, no_parameters, build)
