"""Pathwise gradients of the ELBO: landing, evenly spread noise, and the base of a flow."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import mixed
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE

from jaxvae import models, objectives
from jaxvae.distributions import Bernoulli, Gamma, Normal, kl_divergence, sampling
from jaxvae.objectives import ElboSettings, elbo
from jaxvae.objectives.kl import Draw


@pytest.mark.parametrize("gradient", [objectives.pathwise, objectives.sticking_the_landing])
def test_landing_has_the_pathwise_gradient_and_no_variance_at_the_exact_posterior(gradient):
    params = ppca.exact_params()
    example = ppca.examples(1)
    example = jax.tree.map(lambda leaf: leaf[0], example)

    @jax.grad
    def phi_gradient(phi, key):
        estimate = elbo(
            ppca.model,
            params._replace(inference=phi),
            example,
            key=key,
            kl=objectives.monte_carlo,
            gradient=gradient,
        )
        return estimate.surrogate

    keys = jax.random.split(jax.random.key(2), 2000)
    got = jax.device_get(jax.jit(jax.vmap(phi_gradient, (None, 0)))(params.inference, keys))
    spread = max(np.std(leaf, axis=0).max() for leaf in got)
    if gradient is objectives.sticking_the_landing:
        assert max(np.abs(leaf).max() for leaf in got) < 2e-5
    else:
        assert spread > 0.1
        for leaf in got:
            mixed.assert_unbiased(np.float64(leaf), np.zeros(leaf.shape[1:]))


@pytest.mark.parametrize("kl", [objectives.analytic, objectives.monte_carlo])
@pytest.mark.parametrize(
    "draw_noise", [sampling.antithetic_noise, sampling.sobol_noise], ids=["antithetic", "Sobol"]
)
def test_evenly_spread_noise_is_unbiased_and_less_noisy(draw_noise, kl):
    params, example = ppca.inexact_params(), ppca.examples(1)

    def gradients(gradient):
        loss = partial(elbo, ppca.model, kl=kl, num_samples=8, gradient=gradient)

        @partial(jax.jit, compiler_options=RUN_ONCE)
        @jax.vmap
        def one(key):
            def surrogate(params):
                estimate = loss(params, jax.tree.map(lambda leaf: leaf[0], example), key=key)
                return estimate.surrogate, estimate.bound

            return jax.grad(surrogate, has_aux=True)(params)

        return jax.tree.map(np.float64, one(jax.random.split(jax.random.key(7), 10_000)))

    (plain, bounds), (spread, evener) = map(
        gradients, (objectives.pathwise, objectives.pathwise_from(draw_noise))
    )
    expected = jax.tree.map(lambda leaf: np.mean(leaf, axis=0), plain)
    _, first = mixed.errors(plain, expected)
    difference, second = mixed.errors(spread, expected)
    assert np.all(np.abs(difference) < 4.3 * np.hypot(first, second))
    assert abs(np.mean(bounds) - np.mean(evener)) < 0.02
    if draw_noise is sampling.antithetic_noise:
        # The gradient of the mean is linear in the noise here, and its mirror image cancels it.
        assert np.std(spread.inference.offset, axis=0).max() < 1e-5
    else:
        assert np.sum(second**2) < 0.7 * np.sum(first**2)


def test_evenly_spread_noise_needs_a_transformation():
    q = Gamma(jnp.zeros(2), jnp.zeros(2))
    with pytest.raises(ValueError, match="explicit transformation of noise, got Gamma"):
        objectives.pathwise_from(sampling.antithetic_noise)(
            q, key=jax.random.key(0), num_samples=2, temperature=0.5
        )


FAMILY = models.inverse_autoregressive(2, hidden=(6,), context=0)


def flow_posterior(params, x, context):
    base = ppca.model.posterior(params, x, context)
    outputs = jnp.concatenate([base.loc, base.log_scale])
    return FAMILY.build(params.auxiliary, outputs, 2)


FLOW_MODEL = ppca.model._replace(posterior=flow_posterior)


@partial(jax.jit, compiler_options=RUN_ONCE)
def flow_params(strength):
    """The linear model with two autoregressive blocks, ``strength`` away from the identity."""
    leaves, structure = jax.tree.flatten(FAMILY.init(jax.random.key(5), 2))
    keys = jax.random.split(jax.random.key(6), len(leaves))
    moved = [
        leaf + strength * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return ppca.inexact_params()._replace(auxiliary=jax.tree.unflatten(structure, moved))


@cache
def compiled_flow(kl):
    example = jax.tree.map(lambda leaf: leaf[0], ppca.examples(1))

    @partial(jax.jit, compiler_options=RUN_ONCE)
    @partial(jax.vmap, in_axes=(None, 0))
    def one(params, key):
        def surrogate(params):
            estimate = elbo(FLOW_MODEL, params, example, key=key, kl=kl)
            return estimate.surrogate, estimate

        gradient, estimate = jax.grad(surrogate, has_aux=True)(params)
        return estimate, gradient

    return one


def flow_estimates(strength, kl):
    keys = jax.random.split(jax.random.key(8), 10_000)
    got = compiled_flow(kl)(flow_params(strength), keys)
    return jax.tree.map(np.float64, jax.device_get(got))


flow_at = jax.jit(lambda params, x: flow_posterior(params, x, None))
divergence_of = jax.jit(kl_divergence)


def test_the_closed_form_of_a_flows_base_takes_away_noise_and_no_more():
    plain, plain_gradient = flow_estimates(0.03, objectives.monte_carlo)
    based, based_gradient = flow_estimates(0.03, objectives.analytic_base)
    expected = jax.tree.map(lambda leaf: np.mean(leaf, axis=0), (plain.bound, plain_gradient))
    _, first = mixed.errors((plain.bound, plain_gradient), expected)
    difference, second = mixed.errors((based.bound, based_gradient), expected)
    assert np.all(np.abs(difference) < 4.3 * np.hypot(first, second))
    assert np.var(based.parts["kl"]) < 0.1 * np.var(plain.parts["kl"])


def test_at_the_identity_the_divergence_is_that_of_the_base():
    based, _ = flow_estimates(0.0, objectives.analytic_base)
    base = flow_at(flow_params(0.0), ppca.examples(1).inputs[0]).base
    exact = divergence_of(base, Normal.standard((2,)))
    np.testing.assert_allclose(based.parts["kl"], np.full(10_000, exact), rtol=1e-4)


@jax.jit
def fifty_draws(q, p):
    """Draws, their bases and estimates of the divergence; images of the bases."""
    draws = objectives.pathwise(q, key=jax.random.key(9), num_samples=50)
    z, base = draws.z[:, 0], draws.base[:, 0]
    rows = Draw(z, draws.log_q[:, 0], base)
    estimates = jax.vmap(lambda row: objectives.analytic_base(q, p, row))(rows)
    return z, base, estimates, *jax.vmap(q.flow.forward)(base)


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_every_draw_adds_what_the_flow_does_to_it_to_the_divergence_of_the_base(strength):
    q, p = flow_at(flow_params(strength), ppca.examples(1).inputs[0]), Normal.standard((2,))
    z, base, got, image, log_det = map(np.float64, fifty_draws(q, p))
    np.testing.assert_allclose(z, image, rtol=1e-5, atol=1e-6)
    moved = 0.5 * np.sum(z**2 - base**2, axis=1) - log_det
    assert np.std(moved) > 0.1
    np.testing.assert_allclose(got, divergence_of(q.base, p) + moved, rtol=1e-5, atol=1e-5)


REFUSED = {
    "only a flow has a base": (
        {"kl": objectives.analytic_base},
        "analytic_base expected a Transformed drawn by gradient=pathwise, got Normal",
    ),
    "a discrete distribution is not pathwise": (
        {"model": ppca.model._replace(posterior=lambda p, x, c: Bernoulli(jnp.zeros(2)))},
        "pathwise expected .* got Bernoulli.*score_function",
    ),
    "landing needs a sampled divergence": (
        {"gradient": objectives.sticking_the_landing},
        "sticking_the_landing expected a sampled KL, got kl=analytic",
    ),
    "double reparameterisation needs weights": (
        {"gradient": objectives.doubly_reparameterised, "kl": objectives.monte_carlo},
        "use iwae",
    ),
    "free bits are not negative": (
        {"settings": ElboSettings(free_bits=-0.1)},
        "free_bits expected nats from 0 on, got -0.1",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_combinations_that_make_no_sense_are_refused(options, message):
    mixed.assert_refused(message, **options)
