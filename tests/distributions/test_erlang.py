from functools import cache, partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import (
    check_closed_form,
    check_kolmogorov_smirnov,
    check_log_prob,
    check_log_prob_gradient,
    check_pathwise_gradient,
    every_size,
)
from scipy import stats

from jaxvae.distributions import Erlang, Exponential

SHAPES = [1, 3, 100, *[pytest.param(shape, marks=pytest.mark.exhaustive) for shape in (2, 7, 30)]]
"""Each is a program of its own."""
RATES = [(x,) for x in (-20.0, -9.0, -1.0, 0.0, 0.5, 2.0, 8.0, 20.0)]


@cache
def family(shape):
    """The same function for every check, so that they share its programs."""
    return partial(Erlang, shape)


def values(shape):
    def at(log_rate):
        spread = np.array([1e-6, 0.1, 0.4, 0.8, 1.0, 1.3, 3.0, 50.0])
        return [-1.0, *(shape * spread * np.exp(-log_rate))]

    return at


def log_density(shape):
    def exact(x, a):
        if x < 0 or (x == 0 and shape > 1):
            return -mpmath.inf
        power = (shape - 1) * mpmath.log(x) if shape > 1 else 0
        return shape * a + power - mpmath.exp(a) * x - mpmath.loggamma(shape)

    return exact


@pytest.mark.parametrize("shape", SHAPES)
def test_log_prob_is_exact_from_zero_into_the_tail(shape):
    def with_zero(log_rate):
        return [0.0, *values(shape)(log_rate)]

    check_log_prob(family(shape), RATES, with_zero, log_density(shape))


@pytest.mark.parametrize("shape", [1, 3, pytest.param(30, marks=pytest.mark.exhaustive)])
def test_gradients_of_log_prob_are_exact_and_zero_outside(shape):
    check_log_prob_gradient(
        family(shape), RATES, values(shape), log_density(shape), lambda a: np.exp(-a)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_mode_and_entropy_are_their_closed_forms(shape):
    def entropy(a):
        return shape - a + mpmath.loggamma(shape) + (1 - shape) * mpmath.digamma(shape)

    e = mpmath.exp
    check_closed_form("mean", family(shape), RATES, lambda a: shape * e(-a))
    check_closed_form("variance", family(shape), RATES, lambda a: shape * e(-2 * a))
    check_closed_form("mode", family(shape), RATES, lambda a: (shape - 1) * e(-a))
    check_closed_form("entropy", family(shape), RATES, entropy)


@pytest.mark.parametrize("shape", SHAPES)
@every_size
def test_samples_pass_kolmogorov_smirnov_and_the_cdf_is_that_of_scipy(shape, number):
    def cdf(x, log_rate):
        return stats.gamma.cdf(x, shape, scale=np.exp(-log_rate))

    check_kolmogorov_smirnov(family(shape), [(-9.0,), (0.7,)], cdf, number=number)
    x = jnp.float32(values(shape)(0.7))
    got = jax.vmap(family(shape)(jnp.float32(0.7)).cdf)(x)
    exact = cdf(np.float64(x), np.float64(np.float32(0.7)))
    # The incomplete gamma function of JAX errs by 7e-6 itself in single precision.
    np.testing.assert_allclose(got, exact, atol=1e-5)


def test_with_shape_one_it_is_exponential():
    x = jnp.linspace(0.0, 9.0, 50)
    erlang = jax.vmap(Erlang(1, jnp.float32(-0.7)).log_prob)(x)
    np.testing.assert_allclose(erlang, jax.vmap(Exponential(jnp.float32(-0.7)).log_prob)(x), 1e-5)


@every_size
def test_gradients_of_expectations_are_those_of_the_closed_form(number):
    check_pathwise_gradient(family(4), RATES[2:6], lambda a: 4 * jnp.exp(-a), number=number)


def test_the_shape_is_part_of_the_structure_and_no_leaf():
    erlang = Erlang(3, jnp.zeros(2))
    leaves, structure = jax.tree.flatten(erlang)
    assert len(leaves) == 1
    assert jax.tree.unflatten(structure, leaves).shape == 3
    assert structure == jax.tree.structure(Erlang(3, jnp.ones(2)))
    assert structure != jax.tree.structure(Erlang(4, jnp.zeros(2)))
    assert jax.jit(lambda d: d)(erlang).shape == 3
    assert jax.vmap(lambda d, k: d.sample(k))(
        erlang, jax.random.split(jax.random.key(0))
    ).shape == (2,)


@pytest.mark.parametrize("shape", [0, -2, True])
def test_a_shape_that_is_no_positive_integer_is_refused(shape):
    with pytest.raises(ValueError, match=r"Erlang.shape expected a positive integer"):
        Erlang(shape, jnp.zeros(2))


@pytest.mark.usefixtures("without_type_checks")
def test_a_fractional_shape_is_refused():
    with pytest.raises(ValueError, match=r"Erlang.shape expected a positive integer, got 2.5"):
        Erlang(2.5, jnp.zeros(2))
