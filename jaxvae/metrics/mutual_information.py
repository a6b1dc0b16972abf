"""What the latent variable knows of its example, against the mixture of all posteriors."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions import batch_axes, batched, take
from jaxvae.model import EXAMPLES, Example, LatentVariableModel, Params, map_examples


class Information(NamedTuple):
    r"""The mean KL(q(z | x) || p(z)) split in two, with $q(z) = \frac1N\sum_j q(z \mid x_j)$.

    Attributes:
        mutual_information: of x and z under q, nats; at most log N.
        standard_error: of the mutual information, over examples, nats; NaN for a single one.
        marginal_kl: $KL(q(z) \| p(z))$, nats. Where the prior depends on the context, this is the
            rest of the mean KL and not a divergence.
    """

    mutual_information: Scalar
    standard_error: Scalar
    marginal_kl: Scalar


@partial(jax.jit, static_argnums=0, static_argnames=("chunk", "batch"))
def mutual_information(
    model: LatentVariableModel,
    params: Params,
    examples: Example,
    *,
    key: PRNGKey,
    chunk: int = 128,
    batch: int = 128,
) -> Information:
    r"""$I_q(x; z) = E_x KL(q(z \mid x) \| q(z))$, from one $z_i \sim q(z \mid x_i)$ per example.

    $$\frac1N\sum_i\Bigl[\log q(z_i \mid x_i) - \log\frac1N\sum_j q(z_i \mid x_j)\Bigr]$$

    Every example is compared with every other: N^2 densities, of which ``batch * chunk`` are held
    at a time, besides the N posteriors. No estimate passes log N, so one near log N says that the
    posteriors hardly overlap and not how large the information is; take more examples.

    Args:
        model: the record of functions.
        params: its parameters.
        examples: examples along the first axis of every array.
        key: consumed once.
        chunk: posteriors at a time.
        batch: latents at a time.

    Returns:
        The mutual information, its standard error and the marginal KL; information and marginal
        KL add up to an estimate of the mean KL.

    Raises:
        ValueError: if a size is not positive, or the posterior is a flow without an inverse. That
            of an inverse autoregressive flow takes d passes for each of the N^2 densities.

    Reference: Hoffman and Johnson (2016), "ELBO surgery".
    """
    for name, value in (("chunk", chunk), ("batch", batch)):
        _check.positive(name, value)
    size = _check.examples("mutual_information", examples)
    chunk, log_size = min(chunk, size), math.log(size)
    starts = jnp.arange(0, size, chunk)
    posteriors = batched(
        lambda example: model.posterior(params, example.inputs, example.context),
        (examples,),
        batch_size=batch,
        axis_name=EXAMPLES,
    )
    axes = batch_axes(posteriors)

    def one(number, context, key):
        q = take(posteriors, number)
        z = q.sample(key)
        # Not the density that comes with the sample: this one rounds like those it is compared to.
        own = q.log_prob(z)

        def add(total: Array, start: Array) -> tuple[Array, None]:
            index = start + jnp.arange(chunk)
            some = take(posteriors, jnp.minimum(index, size - 1))
            log_ratio = jax.vmap(lambda q: q.log_prob(z), (axes,))(some) - own
            # The last chunk may reach beyond N; the example itself is counted from the start.
            counted = (index < size) & (index != number)
            return total + jnp.sum(jnp.exp(jnp.where(counted, log_ratio, -jnp.inf))), None

        # sum_j q(z | x_j)/q(z | x_i) begins with j = i, so no term passes log N, and it does not
        # overflow: a ratio whose mean is 1 exceeds exp(88) with a probability below exp(-88).
        total, _ = lax.scan(add, jnp.ones_like(own), starts)
        information = log_size - jnp.log(total)
        return information, own - information - model.prior(params, context).log_prob(z)

    arguments = jnp.arange(size), examples.context, jax.random.split(key, size)
    information, marginal = map_examples(one, *arguments, batch_size=batch)
    return Information(
        mutual_information=jnp.mean(information),
        standard_error=jnp.std(information, ddof=1) / size**0.5,
        marginal_kl=jnp.mean(marginal),
    )
