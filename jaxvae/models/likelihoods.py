"""Families of likelihoods: what a decoder's output becomes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxvae._types import PRNGKey, PyTree, Shape
from jaxvae.distributions import Distribution, Normal


class LikelihoodFamily(NamedTuple):
    """How many numbers a decoder has to give, and the distribution that they become.

    A plain function from outputs to a distribution, such as the class ``Bernoulli``, is the family
    that has no parameters and ignores the context: every model takes either.

    Attributes:
        output_shape: the shape of one event to that of the decoder's output.
        init: key to parameters of its own, such as a learnt scale; None where it has none.
        build: ``(parameters, outputs, context)`` to p(x | z, c). The outputs may have further axes
            in front, such as the times of a series, along which the parameters are shared.
        conditional: whether ``build`` reads the context.
    """

    output_shape: Callable[[Shape], Shape]
    init: Callable[[PRNGKey], PyTree]
    build: Callable[[PyTree, Array, Any], Distribution]
    conditional: bool = False


def likelihood_family(
    likelihood: LikelihoodFamily | Callable[[Array], Distribution],
) -> LikelihoodFamily:
    """The family itself, or that of a plain function from outputs to a distribution.

    Example:
        >>> from jaxvae.distributions import Bernoulli
        >>> from jaxvae.models import likelihood_family
        >>> likelihood_family(Bernoulli).output_shape((28, 28))
        (28, 28)
    """
    if isinstance(likelihood, LikelihoodFamily):
        return likelihood

    def build(params: PyTree, outputs: Array, context: Any) -> Distribution:
        del params, context
        return likelihood(outputs)

    return LikelihoodFamily(_same_shape, _no_parameters, build)


def unit_normal(mean: Array) -> Normal:
    """N(mean, I): the Gaussian likelihood of the Bath report (eq. 19 with unit variance)."""
    return Normal(mean, jnp.zeros_like(mean))


def normal(scale: float | None = None, *, shape: Shape = ()) -> LikelihoodFamily:
    r"""N($\mu$, $\sigma^2$) with the decoder's output as mean, $\sigma$ fixed or learnt.

    A learnt $\sigma$ is a parameter of the model and begins at 1; the optimum of the bound is the
    root mean squared error of reconstruction (the sigma-VAE).

    Args:
        scale: $\sigma$ in units of the data; None learns it.
        shape: of the learnt $\sigma$, the last axes of an event's shape: ``()`` for one that all
            coordinates share, the event's own for one each, ``(channels,)`` for one a channel.

    Raises:
        ValueError: if the scale is not positive, or a shape is given with a fixed scale; when
            called, if the shape is not that of the last axes of the decoder's output.

    Reference: thesis draft, section 4.2.7; Rybkin, Daniilidis and Levine (2021), section 3.

    Example:
        >>> from jaxvae.models import normal
        >>> normal(shape=(28, 28)).output_shape((28, 28))
        (28, 28)
    """
    if scale is not None and not scale > 0:
        raise ValueError(f"normal expected a positive scale, got {scale}; None learns it")
    if scale is not None and shape:
        raise ValueError(f"normal expected no shape with a fixed scale, got {shape}; leave one out")

    def init(key: PRNGKey) -> PyTree:
        del key
        return {"log_scale": jnp.zeros(shape)} if scale is None else None

    def build(params: PyTree, outputs: Array, context: Any) -> Normal:
        del context
        if scale is not None:
            return Normal(outputs, jnp.log(jnp.full(outputs.shape, scale, outputs.dtype)))
        if outputs.shape[outputs.ndim - len(shape) :] != shape:
            raise ValueError(
                f"normal expected outputs whose last axes have the shape {shape} of its scales, "
                f"got {outputs.shape}; give shape=() for one scale, or the shape of an event"
            )
        log_scale = params["log_scale"].astype(outputs.dtype)
        return Normal(outputs, jnp.broadcast_to(log_scale, outputs.shape))

    return LikelihoodFamily(_same_shape, init, build)


def _same_shape(event_shape: Shape) -> Shape:
    return event_shape


def _no_parameters(key: PRNGKey) -> None:
    del key
