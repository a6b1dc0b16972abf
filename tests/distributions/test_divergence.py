from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SUM_ROUNDING
from samplers import RUN_ONCE
from scipy import integrate, special, stats

from jaxvae.distributions import (
    Bernoulli,
    Categorical,
    Delta,
    Normal,
    Poisson,
    has_closed_form,
    kl_by_factor,
    kl_divergence,
    kl_monte_carlo,
)

# (q's scale, p's scale, distance of the means in p's scales)
NORMALS = [
    (1.0, 1.0, 0.0),
    (0.5, 2.0, 1.0),
    (3.0, 0.2, -2.0),
    (1e-20, 1.0, 0.5),
    (1.0, 1e20, 0.0),
    (1e20, 1e20, 3.0),
    (1e-20, 1e-20, -1.0),
    (1e-20, 1e20, 0.1),
    (1e6, 1e-6, 0.0),
    (1.0, 1.001, 0.0),
]
LOGITS = np.float32([-1e4, -105.0, -20.0, -1.0, 0.0, 0.01, 2.5, 30.0, 1e4])


divergence_of, by_factor = jax.jit(kl_divergence), jax.jit(kl_by_factor)
each_divergence = jax.jit(jax.vmap(kl_divergence))


@partial(jax.jit, static_argnums=3, compiler_options=RUN_ONCE)
def monte_carlo(q, p, keys, num_samples):
    estimate = partial(kl_monte_carlo, q, p, num_samples=num_samples)
    return jax.vmap(lambda key: estimate(key=key))(keys)


def random_pairs(family, size=500):
    """Distributions q and p with three components each, stacked."""
    draws = np.asarray(jax.random.normal(jax.random.key(0), (4, size, 3)))
    arrays = [jnp.asarray(np.float32(3.0) * draw) for draw in draws]
    if family is Normal:
        scales = [jnp.asarray(draw) for draw in draws[1::2]]
        return Normal(arrays[0], scales[0]), Normal(arrays[2], scales[1])
    return family(arrays[0]), family(arrays[1])


every_family = pytest.mark.parametrize("family", [Normal, Bernoulli, Categorical])


@pytest.mark.parametrize(("q_scale", "p_scale", "distance"), NORMALS)
def test_normals_agree_with_quadrature(q_scale, p_scale, distance):
    q = Normal(jnp.float32(distance * p_scale), jnp.float32(np.log(q_scale)))
    p = Normal(jnp.float32(0.0), jnp.float32(np.log(p_scale)))
    q_loc, q_scale = np.float64(q.loc), np.exp(np.float64(q.log_scale))
    p_log_scale = np.float64(p.log_scale)

    def integrand(noise):
        log_q = stats.norm.logpdf(noise) - np.float64(q.log_scale)
        standardised = (q_loc + q_scale * noise) * np.exp(-p_log_scale)
        return stats.norm.pdf(noise) * (log_q - stats.norm.logpdf(standardised) + p_log_scale)

    exact, _ = integrate.quad(integrand, -14, 14, points=[0], epsabs=0, epsrel=1e-10)
    # Next to q = p the closed form is a difference of terms of order log(sigma_p / sigma_q).
    rounding = 2e-7 * abs(float(q.log_scale - p.log_scale))
    np.testing.assert_allclose(divergence_of(q, p), exact, rtol=2e-6, atol=rounding + 1e-12)


def test_with_a_standard_prior_it_is_the_formula_of_exercise_12():
    loc, log_scale = jax.random.normal(jax.random.key(1), (2, 4, 5))
    m, s = np.float64(loc), np.exp(np.float64(log_scale))
    exact = 0.5 * np.sum(s**2 + m**2 - 1 - np.log(s**2))
    got = divergence_of(Normal(loc, log_scale), Normal.standard((4, 5)))
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=SUM_ROUNDING)


def test_a_posterior_of_scale_1e_minus_20_costs_its_log_scale():
    got = divergence_of(Normal(jnp.zeros(3), jnp.full(3, -46.0)), Normal.standard((3,)))
    np.testing.assert_allclose(got, 3 * (46.0 - 0.5), rtol=1e-6)


def test_bernoullis_agree_with_enumeration():
    q, p = (grid.ravel() for grid in np.meshgrid(LOGITS, LOGITS))
    got = by_factor(Bernoulli(jnp.asarray(q)), Bernoulli(jnp.asarray(p)))
    q, p = np.float64(q), np.float64(p)
    exact = sum(
        special.expit(sign * q) * (np.logaddexp(0, -sign * p) - np.logaddexp(0, -sign * q))
        for sign in (1, -1)
    )
    np.testing.assert_allclose(got, exact, rtol=2e-6, atol=1e-7)


def test_categoricals_agree_with_enumeration():
    arrays = jax.random.normal(jax.random.key(2), (2, 6, 4))
    arrays = arrays * jnp.array([0.1, 1.0, 10.0, 100.0, 1e3, 1e4])[None, :, None]
    got = by_factor(Categorical(arrays[0]), Categorical(arrays[1]))
    log_q, log_p = special.log_softmax(np.float64(arrays), axis=-1)
    exact = np.sum(np.exp(log_q) * (log_q - log_p), axis=-1)
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=1e-7)
    assert got.shape == (6,)


@every_family
def test_factors_add_up_to_the_divergence(family):
    q, p = (jax.tree.map(lambda leaf: np.asarray(leaf)[:2], pair) for pair in random_pairs(family))
    factors = by_factor(q, p)
    assert factors.shape == ((2,) if family is Categorical else (2, 3))
    np.testing.assert_allclose(divergence_of(q, p), factors.sum(), rtol=1e-6, atol=SUM_ROUNDING)


@every_family
def test_it_is_positive_and_vanishes_only_at_equality(family):
    q, p = random_pairs(family)
    assert np.all(each_divergence(q, p) > 0)
    np.testing.assert_array_equal(each_divergence(q, q), np.zeros(500))


def test_it_vanishes_exactly_at_equality_for_extreme_parameters():
    extreme = jnp.array([-1e4, -105.0, 0.0, 1e4])
    for q in (Normal(extreme, extreme / 300), Bernoulli(extreme), Categorical(extreme)):
        assert float(divergence_of(q, q)) == 0.0


@every_family
def test_its_gradient_vanishes_at_equality(family):
    q, _ = random_pairs(family)
    gradient = jax.jit(jax.vmap(jax.grad(kl_divergence)))(q, q)
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, np.zeros((500, 3)), atol=1e-6)


@pytest.mark.parametrize("name", ["affine map", "flipped bits", "relabelled", "shifted logits"])
def test_it_is_invariant_under_relabelling_of_events(name):
    family, change = {
        "affine map": (Normal, lambda d: Normal(3 - 2 * d.loc, d.log_scale + np.log(2))),
        "flipped bits": (Bernoulli, lambda d: Bernoulli(-d.logits)),
        "relabelled": (Categorical, lambda d: Categorical(d.logits[..., ::-1])),
        "shifted logits": (Categorical, lambda d: Categorical(d.logits + 5)),
    }[name]
    q, p = random_pairs(family)
    changed = each_divergence(change(q), change(p))
    np.testing.assert_allclose(each_divergence(q, p), changed, rtol=1e-4, atol=1e-5)


@every_family
def test_monte_carlo_is_unbiased_and_its_variance_falls_with_the_samples(family):
    q, p = (
        jax.tree.map(lambda leaf: np.asarray(leaf)[3] / np.float32(3), pair)
        for pair in random_pairs(family)
    )
    variances = []
    for num_samples in (1, 8):
        keys = jax.random.split(jax.random.key(num_samples), 20_000)
        estimates = np.float64(monte_carlo(q, p, keys, num_samples))
        error = np.mean(np.float64(estimates)) - divergence_of(q, p)
        assert abs(error) < 4 * np.std(estimates) / np.sqrt(20_000)
        variances.append(np.var(estimates))
    np.testing.assert_allclose(variances[0] / variances[1], 8, rtol=0.15)


def test_monte_carlo_serves_pairs_without_closed_form():
    point = jnp.array([1.0, -2.0])
    got = kl_monte_carlo(Delta(point), Normal.standard((2,)), key=jax.random.key(0), num_samples=3)
    np.testing.assert_allclose(got, 2.5 + np.log(2 * np.pi), rtol=1e-6)


def test_a_missing_pair_lists_those_that_exist_and_the_alternative():
    q, p = Delta(jnp.zeros(2)), Normal.standard((2,))
    assert not has_closed_form(q, p)
    with pytest.raises(ValueError, match=r"KL\(Delta \|\| Normal\)") as caught:
        kl_divergence(q, p)
    message = str(caught.value)
    for words in (
        "from Delta there are none",
        "from Bernoulli to Bernoulli",
        "from Normal to Normal",
    ):
        assert words in message
    assert "kl_monte_carlo" in message
    assert has_closed_form(p, p)


def test_a_missing_pair_names_first_what_exists_from_the_same_q_and_to_the_same_p():
    with pytest.raises(ValueError, match=r"KL\(Poisson \|\| Normal\)") as caught:
        kl_divergence(Poisson(jnp.zeros(2)), Normal.standard((2,)))
    _, own, same, *others = str(caught.value).splitlines()
    assert own.strip() == "from Poisson there are Poisson"
    assert same.strip().startswith("to Normal there are Normal, ")
    assert any(line.strip() == "from Bernoulli to Bernoulli" for line in others)
    assert not any("from Poisson" in line for line in others)


@every_family
def test_events_of_different_shapes_are_refused(family):
    def make(shape):
        return family(*[jnp.zeros(shape)] * (2 if family is Normal else 1))

    with pytest.raises(ValueError, match=r"expected .*\(3,\), got \(2, 3\)"):
        kl_divergence(make((3,)), make((2, 3)))


def test_a_monte_carlo_estimate_needs_a_sample():
    normal = Normal.standard(())
    with pytest.raises(ValueError, match="num_samples expected a positive integer, got 0"):
        kl_monte_carlo(normal, normal, key=jax.random.key(0), num_samples=0)
