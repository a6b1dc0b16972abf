import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SUM_ROUNDING, assert_alike
from samplers import RUN_ONCE

import jaxvae.distributions as families
from jaxvae.distributions import Bernoulli, Categorical, Exponential, Masked, Normal
from jaxvae.distributions.base import Factorised

A, B = np.asarray(jax.random.normal(jax.random.key(0), (2, 2, 3)))
MASK = np.array([[True, False, True], [False, False, True]])


def of(family, *arrays):
    return family(*[jnp.asarray(array, jnp.float32) for array in arrays])


BASES = {
    "Normal": of(Normal, A, B),
    "Normal far away": of(Normal, 1e30 * A, B),
    "Normal with scale 1e-20": of(Normal, A, np.full_like(B, -46.0)),
    "Exponential": of(Exponential, A),
    "Exponential of mean 1e30": of(Exponential, A - 69.0),
    "Bernoulli": of(Bernoulli, A),
    "Bernoulli with logits 1e4": of(Bernoulli, 1e4 * A),
}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


@jax.jit
def event(base):
    return base.sample(jax.random.key(1))


@jax.jit
def by_factor(base, value):
    """Densities and entropies of the coordinates, and the gradients of their sum."""
    gradients = jax.grad(lambda d, x: d.log_prob(x), (0, 1))(base, value)
    return base.log_prob_by_factor(value), base.entropy_by_factor(), gradients


@jax.jit
def masked_facts(base, mask, value):
    """Density and entropy, and the gradients of the former."""
    masked = Masked(base, mask)
    scored = jax.value_and_grad(lambda d, x: Masked(d, mask).log_prob(x), (0, 1))(base, value)
    return scored[0], masked.entropy(), scored[1]


@jax.jit
def filled_in(distribution):
    sample, pair = (
        draw(jax.random.key(1)) for draw in (distribution.sample, distribution.sample_and_log_prob)
    )
    moments = [getattr(distribution, name) for name in ("mean", "variance", "mode")]
    return [sample, *moments], pair, distribution.log_prob(pair[0])


@every_base
@pytest.mark.parametrize("mask", [MASK, np.ones((2, 3), bool)], ids=["some", "all"])
def test_the_observed_part_is_scored_as_if_it_were_the_whole(base, mask):
    value = event(base)
    log_prob, entropy, gradients = masked_facts(base, mask, np.where(mask, value, np.nan))
    log_probs, entropies, exact = map(jax.device_get, by_factor(base, value))
    # Terms of both signs may cancel in the sum.
    rounding = 1e-6 * np.abs(log_probs[mask]).sum()
    np.testing.assert_allclose(log_prob, log_probs[mask].sum(), atol=rounding)
    rounding = 1e-6 * np.abs(entropies[mask]).sum()
    np.testing.assert_allclose(entropy, entropies[mask].sum(), atol=rounding)
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(np.asarray(a)[mask], b[mask], rtol=1e-6)
        np.testing.assert_array_equal(np.asarray(a)[~mask], np.zeros(np.sum(~mask)))


@every_base
def test_nothing_observed_is_worth_nothing_whatever_stands_there(base):
    for missing in (np.nan, np.inf, -7.5, 0.0):
        value = np.full((2, 3), missing, np.float32)
        log_prob, entropy, gradients = masked_facts(base, np.zeros((2, 3), bool), value)
        assert log_prob == entropy == 0.0
        for leaf in jax.tree.leaves(gradients):
            np.testing.assert_array_equal(leaf, np.zeros((2, 3)))


@every_base
def test_samples_and_moments_fill_in_every_coordinate(base):
    masked = Masked(base, jnp.asarray(MASK))
    assert isinstance(masked, families.Distribution)
    assert masked.event_shape == (2, 3)
    assert masked.reparameterised == base.reparameterised
    filled, (value, log_prob), again = filled_in(masked)
    whole, _, _ = filled_in(base)
    assert_alike(filled, whole)
    assert_alike(value, filled[0])
    np.testing.assert_allclose(log_prob, again, rtol=1e-6, atol=SUM_ROUNDING)


def test_every_family_of_one_array_has_a_point_that_stands_in_for_what_is_missing():
    """Zero gradients where nothing is observed, for all families whose coordinates factorise."""
    bases, arrays = {}, [0.3 * A + 0.2 * i for i in range(4)]
    for name in dir(families):
        family = getattr(families, name)
        if not (isinstance(family, type) and issubclass(family, Factorised)):
            continue
        for number in (1, 2, 3, 4):
            try:
                bases[name] = of(family, *arrays[:number])
            except (TypeError, ValueError):
                continue
            break

    def log_prob(bases):
        nothing, missing = jnp.zeros((2, 3), bool), jnp.full((2, 3), jnp.nan)
        return sum(Masked(base, nothing).log_prob(missing) for base in bases.values())

    # One program; what it is to give is zero, whatever the rounding.
    gradients = jax.jit(jax.grad(log_prob), compiler_options=RUN_ONCE)(bases)
    for path, leaf in jax.tree.leaves_with_path(gradients):
        np.testing.assert_array_equal(leaf, np.zeros((2, 3)), err_msg=str(path))
    assert bases.keys() >= {"Normal", "Exponential", "Bernoulli"}


def test_whole_numbers_keep_their_dtype():
    base, ones = BASES["Bernoulli"], np.ones((2, 3), np.float32)
    masked = jax.jit(lambda x: Masked(base, jnp.asarray(MASK)).log_prob(x))
    np.testing.assert_allclose(masked(ones.astype(np.int32)), masked(ones), rtol=1e-6)


def test_masks_are_arrays_like_any_other():
    base, value = BASES["Normal"], event(BASES["Normal"])
    score = jax.jit(jax.vmap(lambda mask: Masked(base, mask).log_prob(value)))
    got, whole = score(np.stack([MASK, ~MASK])), by_factor(base, value)[0]
    np.testing.assert_allclose(np.sum(got), np.sum(whole), atol=1e-6 * np.sum(np.abs(whole)))


def test_misuse_says_what_to_do(without_type_checks):
    with pytest.raises(ValueError, match=r"Masked expected .*\(2, 3\), got \(3,\)"):
        Masked(BASES["Normal"], jnp.ones(3, bool))
    with pytest.raises(ValueError, match="Boolean mask, got float32"):
        Masked(BASES["Normal"], jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="independent coordinates, got Categorical"):
        Masked(Categorical(jnp.asarray(A)), jnp.asarray(MASK))
