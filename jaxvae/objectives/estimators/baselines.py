"""Control variates of the score-function estimator: what a draw is credited with.

A baseline does not depend on the draw whose score it multiplies, so it changes the variance of the
gradient and not its mean.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.model import Example, LatentVariableModel, Params
from jaxvae.nn import Network

_BASELINE = 0x6261


class Credit(NamedTuple):
    r"""What the L draws of one example earned.

    Attributes:
        value: what the score of each draw is multiplied by when nothing is subtracted: its own
            term $f_l/L$ of a mean, or the whole of an importance-weighted bound.
        others: the same quantity, estimated from the other draws alone; 0 where L = 1.
        share: the part of an expected f that ``value`` is, 1/L or 1.
    """

    value: Float[Array, " L"]
    others: Float[Array, " L"]
    share: float


class Learnt(NamedTuple):
    """What the baseline makes of a credit.

    Attributes:
        signal: what the score of each draw is multiplied by.
        fit: a term to be maximised besides, 0 for baselines without parameters.
    """

    signal: Float[Array, " L"]
    fit: float | Scalar = 0.0


@runtime_checkable
class Baseline(Protocol):
    """``(credit, params, example) -> Learnt``; passing one is the choice."""

    def __call__(self, credit: Credit, params: Params, example: Example) -> Learnt:
        """Subtract the baseline from each draw's credit."""
        ...


def no_baseline(credit: Credit, params: Params, example: Example) -> Learnt:
    """The plain score-function estimator."""
    del params, example
    return Learnt(credit.value)


def leave_one_out(credit: Credit, params: Params, example: Example) -> Learnt:
    r"""Each draw against the others: their mean for the ELBO, VIMCO for ``iwae``.

    VIMCO replaces $\log w_l$ in the bound by the mean of the other log weights. Where the others
    have no weight at all, nothing is subtracted.

    Raises:
        ValueError: if there is a single draw.

    Reference: Mnih and Rezende (2016), eqs. 7 to 10; Kool, van Hoof and Welling (2019).
    """
    del params, example
    if len(credit.value) < 2:
        raise ValueError("leave_one_out expected num_samples of at least 2, got 1")
    return Learnt(credit.value - jnp.where(jnp.isneginf(credit.others), 0.0, credit.others))


def learnt_baseline(network: Network) -> Baseline:
    r"""A network $b(x)$ of the inputs that is fitted to what the draws earn, by least squares.

    Its parameters are ``Params.auxiliary``; ``with_baseline`` gives them to a model. The surrogate
    gains $-\frac12(f - b(x))^2$, which moves them alone.

    Args:
        network: inputs to a scalar, shape ().

    Returns:
        A baseline.

    Raises:
        ValueError: when called, if the parameters have no auxiliary part, or b(x) is no scalar.

    Reference: Mnih and Gregor (2014), section 2.3.
    """

    def baseline(credit: Credit, params: Params, example: Example) -> Learnt:
        if params.auxiliary is None:
            raise ValueError(
                "learnt_baseline expected its parameters in Params.auxiliary, got None; make the "
                "model with with_baseline(model, network)"
            )
        predicted = network.apply(params.auxiliary, example.inputs)
        _check.event_shape("learnt_baseline", (), predicted.shape)
        misfit = lax.stop_gradient(credit.value) / credit.share - predicted
        signal = credit.value - credit.share * lax.stop_gradient(predicted)
        return Learnt(signal, -0.5 * jnp.mean(misfit**2))

    return baseline


def with_baseline(model: LatentVariableModel, network: Network) -> LatentVariableModel:
    """The model whose fresh parameters hold those of a learnt baseline as ``Params.auxiliary``.

    Args:
        model: a model without auxiliary parameters.
        network: the one that ``learnt_baseline`` gets.
    """

    def init(key: PRNGKey) -> Params:
        params = model.init(key)
        if params.auxiliary is not None:
            raise ValueError("with_baseline expected a model without auxiliary parameters")
        # Tagged, so that the model's own parameters are those that it has without a baseline.
        return params._replace(auxiliary=network.init(jax.random.fold_in(key, _BASELINE)))

    return model._replace(init=init)
