from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samplers import RUN_ONCE

from jaxvae.distributions import Bernoulli, Exponential, Gamma, Gumbel, Normal, sampling
from jaxvae.distributions.sampling import antithetic, independent, quasi_monte_carlo

quick = partial(jax.jit, compiler_options=RUN_ONCE)
STRATEGIES = [independent, antithetic, quasi_monte_carlo]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.__name__)
LOC, LOG_SCALE = jnp.array([0.3, -0.5]), jnp.array([-0.5, 0.1])
SCALE = np.exp(LOG_SCALE)


def assert_mean(draws, exact):
    draws = np.float64(draws)
    standard_error = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(np.mean(draws, axis=0) - exact) <= 4 * standard_error + 1e-6)


@every_strategy
def test_averages_and_their_gradients_are_unbiased(strategy):
    def average(q, key):
        return jnp.sum(jnp.mean(strategy(q, key, 6) ** 3, axis=0))

    q = Normal(LOC, LOG_SCALE)
    keys = jax.random.split(jax.random.key(0), 20_000)
    values, gradients = quick(jax.vmap(jax.value_and_grad(average), (None, 0)))(q, keys)
    assert_mean(values, np.sum(LOC**3 + 3 * LOC * SCALE**2))
    assert_mean(gradients.loc, 3 * LOC**2 + 3 * SCALE**2)
    assert_mean(gradients.log_scale, 6 * LOC * SCALE**2)


@every_strategy
@pytest.mark.parametrize("make", [Exponential, lambda a: Gumbel(a, 0 * a)], ids=["Exp", "Gumbel"])
def test_families_by_inversion_are_sampled_without_bias(strategy, make):
    q = make(jnp.array([[0.3, -0.4, 1.0]]))
    keys = jax.random.split(jax.random.key(1), 10_000)
    averages = quick(jax.vmap(lambda key: jnp.mean(strategy(q, key, 4), axis=0)))(keys)
    assert averages.shape == (10_000, 1, 3)
    assert_mean(averages, np.float64(q.mean))


def test_antithetic_pairs_cancel_what_is_odd_in_the_noise():
    events = np.float64(antithetic(Normal(LOC, LOG_SCALE), jax.random.key(2), 10))
    np.testing.assert_allclose(events[:5] + events[5:], 2 * np.float64([LOC] * 5), atol=1e-6)
    assert np.min(np.std(events[:5], axis=0)) > 0.1


def test_quasi_monte_carlo_converges_faster_than_chance():
    q = Normal(jnp.zeros(3), jnp.zeros(3))
    powers = np.array([4, 7, 11])

    def root_mean_square_error(strategy, number):
        def error(key):
            events = strategy(q, key, number)
            return jnp.mean(jnp.cos(jnp.sum(events, axis=-1) + 0.3)) - jnp.cos(0.3) * jnp.exp(-1.5)

        errors = quick(jax.vmap(error))(jax.random.split(jax.random.key(3), 60))
        return np.sqrt(np.mean(np.float64(errors) ** 2))

    def rate(strategy):
        errors = [root_mean_square_error(strategy, 2 ** int(p)) for p in powers]
        return np.polyfit(powers * np.log(2), np.log(errors), 1)[0]

    assert abs(rate(independent) + 0.5) < 0.1
    assert rate(quasi_monte_carlo) < -0.8


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
def test_a_net_has_one_point_in_every_cell_whatever_the_key(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        q = Normal(jnp.zeros(2, dtype), jnp.zeros(2, dtype))
        events = jax.jit(lambda key: quasi_monte_carlo(q, key, 64))(jax.random.key(4))
        assert events.dtype == dtype
        uniform = np.float64(jax.scipy.special.ndtr(events))
        # A net of 64 points in base two is balanced in every grid of 64 equal cells.
        for rows in (1, 2, 4, 8, 16, 32, 64):
            cells = np.floor(uniform * [rows, 64 // rows]).astype(int)
            assert len(np.unique(cells[:, 0] * 64 + cells[:, 1])) == 64


def test_common_noise_makes_differences_smooth():
    h = 1e-3

    def quotients(first, second):
        def of_scale(log_scale, key):
            return independent(Normal(LOC, log_scale), key, 1000)

        difference = of_scale(LOG_SCALE + h, first) - of_scale(LOG_SCALE, second)
        return np.std(np.float64(difference) / h, axis=0)

    first, second = jax.random.split(jax.random.key(5))
    # The derivative of mu + sigma eps by log sigma is sigma eps, of standard deviation sigma.
    np.testing.assert_allclose(quotients(jax.random.clone(first), first), SCALE, rtol=0.1)
    assert np.all(quotients(jax.random.clone(first), second) > 500 * SCALE)


@every_strategy
def test_strategies_work_under_vmap_of_distributions(strategy):
    batch = Normal(jnp.stack([LOC, LOC + 1]), jnp.stack([LOG_SCALE, LOG_SCALE]))
    keys = jax.random.split(jax.random.key(6), 2)
    got = jax.jit(jax.vmap(lambda q, key: strategy(q, key, 4)))(batch, jax.random.clone(keys))
    alone_of = jax.jit(lambda q, key: strategy(q, key, 4))
    for i in range(2):
        alone = alone_of(Normal(batch.loc[i], batch.log_scale[i]), keys[i])
        np.testing.assert_allclose(got[i], alone, 1e-6)


def test_distributions_without_a_transformation_can_only_be_drawn_independently(
    without_type_checks,
):
    for q in (Bernoulli(jnp.zeros(2)), Gamma(jnp.zeros(2), jnp.zeros(2))):
        assert sampling.independent(q, jax.random.key(0), 3).shape == (3, 2)
        for strategy in (antithetic, quasi_monte_carlo):
            name = f"{strategy.__name__} expected .* got {type(q).__name__}; use"
            with pytest.raises(ValueError, match=name):
                strategy(q, jax.random.key(0), 4)


def test_numbers_are_checked():
    q = Normal.standard((2,))
    with pytest.raises(ValueError, match="antithetic expected an even num_samples, got 3"):
        antithetic(q, jax.random.key(0), 3)
    for strategy in STRATEGIES:
        with pytest.raises(ValueError, match="num_samples expected a positive integer, got 0"):
            strategy(q, jax.random.key(0), 0)
