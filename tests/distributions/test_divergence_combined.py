import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SUM_ROUNDING

from jaxvae.distributions import (
    Categorical,
    Delta,
    Exponential,
    Joint,
    Normal,
    Product,
    Uniform,
    has_closed_form,
    kl_by_factor,
    kl_divergence,
    kl_monte_carlo,
)

divergence_of, by_factor = jax.jit(kl_divergence), jax.jit(kl_by_factor)


def arrays(seed, *shapes):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]


def mixed(seed):
    a, b, c, d = arrays(seed, (2, 3), (2, 3), (4,), (2, 5))
    return Product((Normal(a, b), Exponential(c), Categorical(d)))


def joint(seed):
    logits, loc, log_scale = arrays(seed, (3,), (3, 2), (3, 2))
    return Joint(Categorical(logits), Normal(loc, log_scale))


def estimate(q, p, number=20_000):
    keys = jax.random.split(jax.random.key(0), number)
    draws = jax.jit(jax.vmap(lambda key: kl_monte_carlo(q, p, key=key, num_samples=1)))(keys)
    return np.mean(np.float64(draws)), np.std(np.float64(draws)) / np.sqrt(number)


def test_that_of_independent_parts_is_the_sum_of_theirs_in_one_row():
    q, p = mixed(0), mixed(1)
    pairs = list(zip(q.factors, p.factors, strict=True))
    factors = by_factor(q, p)
    assert has_closed_form(q, p)
    assert factors.shape == (2 * 3 + 4 + 2,)
    np.testing.assert_allclose(factors, np.concatenate([by_factor(*x).ravel() for x in pairs]))
    np.testing.assert_allclose(
        divergence_of(q, p), sum(divergence_of(*x) for x in pairs), rtol=1e-6, atol=SUM_ROUNDING
    )


@pytest.mark.parametrize("make", [mixed, joint])
def test_it_is_the_mean_log_ratio_and_vanishes_at_equality(make):
    q, p = make(2), make(3)
    mean, standard_error = estimate(q, p)
    assert abs(mean - float(divergence_of(q, p))) < 4 * standard_error
    np.testing.assert_allclose(divergence_of(q, q), 0.0, atol=1e-6)


def test_that_of_label_and_value_is_by_the_chain_rule():
    q, p = joint(4), joint(5)
    weights = np.exp(np.float64(q.label.log_probs))
    of_values = jax.jit(jax.vmap(kl_divergence))(q.components, p.components)
    exact = float(divergence_of(q.label, p.label)) + weights @ np.float64(of_values)
    assert by_factor(q, p).shape == ()
    np.testing.assert_allclose(by_factor(q, p), exact, rtol=1e-6, atol=SUM_ROUNDING)


def test_a_label_without_weight_may_have_an_infinite_divergence():
    label = Categorical(jnp.array([0.0, -200.0]))
    narrow = Uniform(jnp.array([0.0, 5.0]), jnp.zeros(2))
    wide = Uniform(jnp.array([-1.0, 8.0]), jnp.full(2, 2.0))
    assert float(divergence_of(Joint(label, narrow), Joint(label, wide))) == 2.0
    even = Categorical(jnp.zeros(2))
    assert float(divergence_of(Joint(even, narrow), Joint(even, wide))) == np.inf


def test_combinators_hold_one_another():
    q, p = (Product((joint(seed), mixed(seed))) for seed in (6, 7))
    parts = [divergence_of(a, b) for a, b in zip(q.factors, p.factors, strict=True)]
    np.testing.assert_allclose(divergence_of(q, p), sum(parts), rtol=1e-6, atol=SUM_ROUNDING)
    gradient_of = jax.jit(jax.grad(kl_divergence))
    gradient, expected = gradient_of(q, p), gradient_of(q.factors[0], p.factors[0])
    np.testing.assert_allclose(
        gradient.factors[0].components.loc, expected.components.loc, rtol=1e-5, atol=1e-6
    )


def test_the_message_names_the_part_without_a_closed_form():
    normal, delta = Normal.standard((2,)), Delta(jnp.zeros(2))
    q, p = Product((normal, delta)), Product((normal, normal))
    assert not has_closed_form(q, p)
    with pytest.raises(ValueError, match=r"KL\(Delta \|\| Normal\) \(q\.factors\[1\] and p"):
        kl_divergence(q, p)
    stacked = Joint(Categorical(jnp.zeros(2)), Delta(jnp.zeros((2, 3))))
    with pytest.raises(ValueError, match=r"\(q\.factors\[0\]\.components and p"):
        kl_divergence(Product((stacked,)), Product((stacked,)))
    with pytest.raises(ValueError, match=r"KL\(Product \|\| Normal\) has no"):
        kl_divergence(q, normal)


def test_different_numbers_of_parts_are_refused():
    normal = Normal.standard((2,))
    q, p = Product((normal, normal)), Product((normal,))
    with pytest.raises(ValueError, match=r"expected a p of 2 .* got 1"):
        kl_divergence(q, p)
