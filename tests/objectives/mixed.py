"""Models with discrete and mixed latents whose bounds are known as differentiable functions.

The latent is a label k of three and, in the mixed model, a number z given k. Expectations over k
are sums, those over z Gauss-Hermite quadrature, which is exact to rounding here.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE

from jaxvae.distributions import Categorical, Joint, Normal
from jaxvae.model import Example, LatentVariableModel, Params
from jaxvae.objectives import elbo

X = jnp.array([0.4, -1.1])
EXAMPLE = Example(X, X)
LABELS = jnp.eye(3)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
NODES = jnp.asarray(_NODES, jnp.float32)
LOG_WEIGHTS = jnp.asarray(np.log(_WEIGHTS / _WEIGHTS.sum()), jnp.float32)


def _discrete_init(key):
    del key
    generative = {
        "prior": jnp.array([0.2, -0.3, 0.1]),
        "means": jnp.array([[0.5, -1.0], [-0.7, 0.6], [1.2, 0.3]]),
    }
    return Params(generative, {"logits": jnp.array([0.6, -0.4, 0.0]), "slope": jnp.float32(0.7)})


def _label_logits(params, x):
    inference = params.inference
    return inference["logits"] + inference["slope"] * jnp.array([1.0, 0.0, -1.0]) * x[0]


def _discrete_likelihood(params, label, context):
    del context
    mean = jnp.tanh(label @ params.generative["means"])
    return Normal(mean, jnp.full((2,), -0.5))


discrete = LatentVariableModel(
    _discrete_init,
    lambda params, context: Categorical(params.generative["prior"]),
    _discrete_likelihood,
    lambda params, x, context: Categorical(_label_logits(params, x)),
)


def _mixed_init(key):
    params = _discrete_init(key)
    generative = params.generative | {"loc": jnp.array([-1.0, 0.2, 1.0])}
    inference = params.inference | {
        "loc": jnp.array([-0.5, 0.0, 0.8]),
        "log_scale": jnp.array([-0.2, 0.1, -0.6]),
    }
    return Params(generative, inference)


def _mixed_prior(params, context):
    del context
    components = Normal(params.generative["loc"], jnp.zeros(3))
    return Joint(Categorical(params.generative["prior"]), components)


def _mixed_posterior(params, x, context):
    del context
    components = Normal(params.inference["loc"] + 0.3 * x[1], params.inference["log_scale"])
    return Joint(Categorical(_label_logits(params, x)), components)


def _mixed_likelihood(params, latent, context):
    label, z = latent
    mean = jnp.sin(z) * jnp.array([1.0, -0.5]) + label @ params.generative["means"]
    return Normal(mean, jnp.full((2,), -0.3))


mixed = LatentVariableModel(_mixed_init, _mixed_prior, _mixed_likelihood, _mixed_posterior)


def support(model, params):
    """(events, log-probabilities under q) whose weighted sums are expectations under q."""
    q = model.posterior(params, X, None)
    if isinstance(q, Categorical):
        return LABELS, q.log_probs

    def at(label, node):
        component = q.given(label)
        z = component.transform(node)
        return (label, z), q.label.log_prob(label)

    events, log_probs = jax.vmap(jax.vmap(at, (None, 0)), (0, None))(LABELS, NODES)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), events)
    return flat, (log_probs + LOG_WEIGHTS[None, :]).ravel()


def log_weights(model, params, events, log_q=None):
    """log p(x, z) - log q(z) at each event."""
    q = model.posterior(params, X, None) if log_q is None else log_q
    p = model.prior(params, None)

    def one(z):
        likelihood = model.likelihood(params, z, None).log_prob(X)
        return likelihood + p.log_prob(z) - q.log_prob(z)

    return jax.vmap(one)(events)


@partial(jax.jit, static_argnums=0)
def exact_elbo(model, params, beta=1.0):
    events, log_probs = support(model, params)
    likelihood = jax.vmap(lambda z: model.likelihood(params, z, None).log_prob(X))(events)
    weights = log_weights(model, params, events)
    return jnp.sum(jnp.exp(log_probs) * (likelihood + beta * (weights - likelihood)))


@partial(jax.jit, static_argnums=0)
def exact_gradient(model, params, beta=1.0):
    return jax.grad(exact_elbo, argnums=1)(model, params, beta)


def exact_bound(model, params, alpha=0.0, stopped=False):
    """The bound of two importance weights; ``stopped`` leaves out the score of q, as STL does."""
    events, log_probs = support(model, params)
    q = jax.lax.stop_gradient(model.posterior(params, X, None)) if stopped else None
    log_w = (1 - alpha) * log_weights(model, params, events, q)
    bound = (jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2.0)) / (1 - alpha)
    return jnp.sum(jnp.exp(log_probs[:, None] + log_probs[None, :]) * bound)


def estimates(objective, model, params, size=20_000, seed=1, settings=None, **options):
    """Independent estimates, and gradients of their surrogates, in float64 numpy."""
    one = _compiled(objective, model, tuple(options.items()))
    keys = jax.random.split(jax.random.key(seed), size)
    settings = jax.tree.map(jnp.float32, settings)
    return jax.tree.map(np.float64, jax.device_get(one(params, settings, keys)))


@cache
def _compiled(objective, model, options):
    # All numbers are arguments, so that other numbers are the same program; and as estimates have
    # standard errors, it is not optimised.
    @partial(jax.jit, compiler_options=RUN_ONCE)
    @partial(jax.vmap, in_axes=(None, None, 0))
    def one(params, settings, key):
        def surrogate(params):
            given = dict(options) if settings is None else {**dict(options), "settings": settings}
            estimate = objective(model, params, EXAMPLE, key=key, **given)
            return estimate.surrogate, estimate

        gradient, estimate = jax.grad(surrogate, has_aux=True)(params)
        return estimate, gradient

    return one


def errors(samples, exact):
    """(mean - exact, standard error), flat over all leaves."""
    exact = jax.tree.map(np.float64, exact)
    pairs = [
        (np.mean(s, axis=0) - e, np.std(s, axis=0) / np.sqrt(len(s)) + 2e-6 * np.abs(e) + 2e-7)
        for s, e in zip(jax.tree.leaves(samples), jax.tree.leaves(exact), strict=True)
    ]
    return tuple(
        np.concatenate([np.ravel(x) for x in column]) for column in zip(*pairs, strict=True)
    )


def assert_unbiased(samples, exact, message=""):
    error, standard_error = errors(samples, exact)
    ratio = np.abs(error) / standard_error
    assert np.all(ratio < 4.3), f"{message}: {ratio.max():.1f} standard errors from the truth"


def variance(gradient):
    """Of an estimated gradient in phi, summed over the parameters."""
    return sum(np.var(leaf, axis=0).sum() for leaf in jax.tree.leaves(gradient.inference))


def assert_refused(message, model=ppca.model, **options):
    """The ELBO of a model with Normal latents is refused with these options."""
    loss = partial(elbo, model, ppca.exact_params(), Example(jnp.zeros(5), jnp.zeros(5)), **options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key: loss(key=key), jax.random.key(0))
