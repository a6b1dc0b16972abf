from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE

from jaxvae import objectives
from jaxvae.distributions import Bernoulli, Delta, Normal, kl_by_factor
from jaxvae.model import Example, Params
from jaxvae.objectives import ElboSettings, elbo

THETA = ppca.generative(jax.random.key(0))
PARAMS = Params(THETA, ppca.inexact_inference(THETA))
X = jnp.array([0.3, -2.0, 1.1, 0.4, -0.9])
EXAMPLE = Example(X, X)
ROUNDING = 1e-5
"""Of a bound, which is a sum of a dozen terms of at most ten nats."""


def posterior_moments(params):
    weights, offset, log_scale = map(np.float64, params.inference)
    return weights @ (np.float64(X) - offset), np.exp(log_scale)


def kl_of_each_dimension():
    """KL(N(m, s^2) || N(0, 1)) in float64: dimensions on either side of the floors below."""
    mean, scale = posterior_moments(PARAMS)
    return 0.5 * (scale**2 + mean**2 - 1) - np.log(scale)


KLS = kl_of_each_dimension()
FLOORS = {"below": 0.5 * KLS.min(), "between": KLS.mean(), "above": 2.0 * KLS.max()}
every_floor = pytest.mark.parametrize("floor", FLOORS.values(), ids=FLOORS)


def estimate(floor, *, model=ppca.model, beta=1.0, **options):
    return compiled(model, tuple(options.items()))(ElboSettings(beta=beta, free_bits=floor))


@cache
def compiled(model, options):
    """Settings to an estimate, always of the same draws."""

    @jax.jit
    def one(settings):
        key = jax.random.key(1)
        return elbo(model, PARAMS, EXAMPLE, key=key, settings=settings, **dict(options))

    return one


@every_floor
@pytest.mark.parametrize("num_samples", [1, 5])
def test_the_surrogate_pays_for_each_dimension_at_least_the_floor_and_the_bound_is_plain(
    floor, num_samples
):
    plain = estimate(None, num_samples=num_samples)
    got = estimate(float(floor), beta=0.7, num_samples=num_samples)
    np.testing.assert_allclose(got.bound, plain.bound, atol=ROUNDING)
    jax.tree.map(partial(np.testing.assert_allclose, atol=ROUNDING), got.parts, plain.parts)
    np.testing.assert_allclose(got.parts["kl"], KLS.sum(), atol=ROUNDING)
    expected = np.float64(plain.parts["reconstruction"]) - 0.7 * np.maximum(KLS, floor).sum()
    np.testing.assert_allclose(got.surrogate, expected, atol=ROUNDING)


def deaf(params, latent, context):
    """A likelihood that does not hear the latent: the KL alone moves the encoder."""
    del latent, context
    return Normal(params.generative.offset, jnp.zeros(5))


@jax.jit
@jax.grad
def deaf_gradient(params, free_bits):
    settings = ElboSettings(free_bits=free_bits)
    model = ppca.model._replace(likelihood=deaf)
    return elbo(model, params, EXAMPLE, key=jax.random.key(1), settings=settings).surrogate


@every_floor
def test_below_the_floor_a_dimension_feels_no_kl_and_above_it_all_of_it(floor):
    got, plain = (
        jax.device_get(deaf_gradient(PARAMS, bits).inference) for bits in (float(floor), None)
    )
    for dimension, kl in enumerate(KLS):
        expected = plain.weights[dimension], plain.log_scale[dimension]
        assert np.all(expected[0] != 0.0)
        if kl < floor:
            expected = jax.tree.map(np.zeros_like, expected)
        np.testing.assert_allclose(got.weights[dimension], expected[0], rtol=1e-6)
        np.testing.assert_allclose(got.log_scale[dimension], expected[1], rtol=1e-6)


@jax.jit
@jax.grad
def exact_gradient(params, floor):
    # E_q log N(x; Wz + b, s^2) = log N(x; Wm + b, s^2) - sum_i |w_i|^2 v_i/(2 s^2).
    q = ppca.model.posterior(params, X, None)
    variance = jnp.exp(2 * q.log_scale)
    lost = jnp.sum(jnp.sum(params.generative.weights**2, axis=0) * variance)
    at_mean = ppca.model.likelihood(params, q.loc, None).log_prob(X)
    reconstruction = at_mean - 0.5 * lost * jnp.exp(-2 * params.generative.log_noise)
    kl = 0.5 * (variance + q.loc**2 - 1) - q.log_scale
    return reconstruction - jnp.sum(jnp.where(kl > floor, kl, floor))


@partial(jax.jit, compiler_options=RUN_ONCE)
@partial(jax.vmap, in_axes=(None, None, 0))
@jax.grad
def sampled_gradient(params, floor, key):
    settings = ElboSettings(free_bits=floor)
    return elbo(ppca.model, params, EXAMPLE, key=key, settings=settings).surrogate


@every_floor
def test_the_mean_gradient_is_that_of_the_surrogate_in_closed_form(floor):
    floor = np.float32(floor)
    samples = sampled_gradient(PARAMS, floor, jax.random.split(jax.random.key(2), 20_000))
    exact = exact_gradient(PARAMS, floor)
    for got, expected in zip(*map(jax.tree.leaves, (samples, exact)), strict=True):
        got, expected = np.float64(got), np.float64(expected)
        tolerance = 4 * np.std(got, axis=0) / np.sqrt(len(got)) + 2e-6 * np.abs(expected) + 1e-7
        assert np.all(np.abs(np.mean(got, axis=0) - expected) < tolerance)


def test_a_floor_may_be_swept_and_follow_a_schedule():
    schedule = objectives.schedules.linear(0.0, 4.0, 4)
    floors = np.arange(5, dtype=np.float32)
    swept = jax.device_get(jax.jit(jax.vmap(estimate))(floors))
    followed = jax.jit(jax.vmap(lambda step: estimate(schedule(step))))(np.arange(5))
    expected = swept.parts["reconstruction"] - np.maximum(KLS, floors[:, None]).sum(axis=1)
    np.testing.assert_allclose(swept.surrogate, expected, atol=ROUNDING)
    np.testing.assert_allclose(followed.surrogate, swept.surrogate, atol=ROUNDING)


def test_a_zero_floor_is_the_plain_surrogate_and_none_leaves_no_trace():
    np.testing.assert_allclose(estimate(0.0).surrogate, estimate(None).surrogate, atol=ROUNDING)
    assert jax.tree.leaves(ElboSettings(beta=2.0, temperature=0.7)) == [2.0, 0.7]

    def traced(floor):
        settings = ElboSettings(free_bits=floor)
        return elbo(ppca.model, PARAMS, EXAMPLE, key=jax.random.key(1), settings=settings)

    with_floor, without = (str(jax.make_jaxpr(traced)(floor)) for floor in (0.0, None))
    # The divergence of each dimension is computed besides, with maxima of its own.
    normal = Normal.standard((2,))
    own = str(jax.make_jaxpr(kl_by_factor)(normal, normal)).count(" max ")
    assert with_floor.count(" max ") == without.count(" max ") + own + 1


def test_where_a_closed_form_is_available_free_bits_use_it():
    chosen = estimate(1.0, kl=objectives.analytic_where_available)
    np.testing.assert_array_equal(chosen.surrogate, estimate(1.0).surrogate)


@pytest.mark.parametrize("kl", [objectives.monte_carlo, objectives.analytic_entropy])
def test_a_sampled_divergence_has_no_floor(kl):
    with pytest.raises(ValueError, match=f"free_bits expected .* got kl={kl.__name__} for Normal"):
        estimate(0.5, kl=kl)


def test_a_pair_without_a_closed_form_has_no_floor():
    model = ppca.model._replace(posterior=lambda params, x, context: Delta(jnp.zeros(2)))
    with pytest.raises(ValueError, match=r"analytic_where_available for Delta \|\| Normal"):
        estimate(0.5, model=model, kl=objectives.analytic_where_available)
    model = model._replace(prior=lambda params, context: Bernoulli(jnp.zeros(2)))
    with pytest.raises(ValueError, match="no closed form here"):
        estimate(0.5, model=model)
