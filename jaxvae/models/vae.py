"""The variational autoencoder."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.distributions import Bernoulli, Distribution
from jaxvae.model import LatentVariableModel, Params
from jaxvae.models.likelihoods import LikelihoodFamily, likelihood_family
from jaxvae.models.posteriors import Inference, PosteriorFamily, diagonal, posterior_of
from jaxvae.models.priors import PriorFamily, standard_normal
from jaxvae.nn import Conditional, Network


class Generative(NamedTuple):
    """The generative half of a model's parameters, where the decoder is not all of it.

    Attributes:
        decoder: of the network.
        prior: what the prior family has; None where it has nothing.
        likelihood: what the likelihood family has, likewise.
    """

    decoder: PyTree
    prior: PyTree = None
    likelihood: PyTree = None


def vae(
    *,
    encoder: Network | Conditional,
    decoder: Network | Conditional,
    latent_dim: int,
    likelihood: LikelihoodFamily | Callable[[Array], Distribution] = Bernoulli,
    posterior: PosteriorFamily = diagonal(),  # noqa: B008 - an immutable tuple
    prior: PriorFamily = standard_normal(),  # noqa: B008 - an immutable tuple
) -> LatentVariableModel:
    r"""A model with an amortised posterior, put together from parts.

    $$z \sim p(z \mid c),\quad x \sim p(x \mid f_\theta(z, c), c),\quad
      q(z \mid x, c) = q(z; h_\phi(x, c))$$

    By default $p(z) = N(0, I)$ and $q(z \mid x) = N(\mu_\phi(x), \mathrm{diag}\,\sigma^2_\phi(x))$,
    and nothing depends on a context c. Each part may do so by itself: an encoder or decoder made by
    ``nn.conditional``, a prior such as ``conditional_normal``, a likelihood that reads the context.

    Args:
        encoder: one input to ``posterior.num_outputs(latent_dim)`` numbers; for the default to
            $2d$ numbers, $\mu_\phi$ followed by $\log\sigma_\phi$.
        decoder: one latent, a vector of $d$ numbers by default, to the raw parameters of the
            likelihood.
        latent_dim: $d$.
        likelihood: a family such as ``normal(shape=())``, which may have parameters of its own, or
            a function of the decoder's output, such as ``Bernoulli`` (of logits) or ``unit_normal``
            (of means).
        posterior: the family of q: ``diagonal()``, ``full_covariance()``, ``low_rank(rank)``, or a
            flow (``planar``, ``radial``, ``inverse_autoregressive``, ``coupling``), whose bound
            needs ``kl=objectives.monte_carlo``.
        prior: the family of p(z | c): ``standard_normal()`` or ``conditional_normal(network)``.

    Returns:
        The model. ``Params.generative`` holds the decoder's parameters, in a ``Generative`` where
        prior or likelihood have some too; ``Params.inference`` is an ``Inference`` with those of
        the encoder and of the posterior.

    Raises:
        ValueError: when called, if the encoder's output has not the size that the posterior needs,
            there is a context that no part looks at, or none where one is needed.

    Reference: exercise 12, task 2; Bath report, sections 4.3 and 4.4; thesis draft, chapter 4.

    Example:
        >>> from jaxvae.models import vae
        >>> from jaxvae.nn import mlp
        >>> model = vae(encoder=mlp((28, 28), (100,)), decoder=mlp((50,), (28, 28)), latent_dim=50)

    With a posterior that is not diagonal:

        >>> from jaxvae.models import inverse_autoregressive
        >>> flow = inverse_autoregressive(blocks=2)
        >>> encoder = mlp((28, 28), (flow.num_outputs(50),))
        >>> decoder = mlp((50,), (28, 28))
        >>> model = vae(encoder=encoder, decoder=decoder, latent_dim=50, posterior=flow)

    Conditioned on one of ten classes, which encoder and decoder see:

        >>> from jaxvae.nn import conditional
        >>> model = vae(
        ...     encoder=conditional(mlp((784 + 10,), (4,))),
        ...     decoder=conditional(mlp((2 + 10,), (28, 28))),
        ...     latent_dim=2,
        ... )
    """
    _check.positive("latent_dim", latent_dim)
    family = likelihood_family(likelihood)
    conditional = prior.conditional or family.conditional
    conditional = conditional or any(isinstance(net, Conditional) for net in (encoder, decoder))

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, 5)
        generative = Generative(
            decoder.init(keys[0]), prior.init(keys[3], latent_dim), family.init(keys[4])
        )
        inference = Inference(encoder.init(keys[1]), posterior.init(keys[2], latent_dim))
        return Params(_without_nothing(generative), inference)

    def check(context: Any) -> None:
        if context is not None and not conditional:
            raise ValueError(
                "vae expected no context, as none of its parts looks at one, got one; leave "
                "Example.context at None, or make the parts that should see it with nn.conditional "
                "or conditional_normal"
            )

    def prior_of(params, context):
        check(context)
        return prior.build(_generative(params).prior, context, latent_dim)

    def likelihood_of(params, latent, context):
        check(context)
        generative = _generative(params)
        outputs = _apply(decoder, generative.decoder, latent, context)
        return family.build(generative.likelihood, outputs, context)

    def q(params, inputs, context):
        check(context)
        outputs = _apply(encoder, params.inference.encoder, inputs, context)
        return posterior_of("vae", posterior, params.inference.posterior, outputs, latent_dim)

    return LatentVariableModel(init, prior_of, likelihood_of, q)


def _apply(network: Network | Conditional, params: PyTree, x: Any, context: Any) -> Any:
    if isinstance(network, Conditional):
        return network.apply(params, x, context)
    return network.apply(params, x)


def _without_nothing(generative: Generative) -> PyTree:
    """The decoder's parameters by themselves where there are no others."""
    alone = generative.prior is None and generative.likelihood is None
    return generative.decoder if alone else generative


def _generative(params: Params) -> Generative:
    held = params.generative
    return held if isinstance(held, Generative) else Generative(held)
