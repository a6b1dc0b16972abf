import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae.distributions as families
from jaxvae.distributions import Bernoulli, Categorical, Exponential, Masked, Normal
from jaxvae.distributions.base import Factorised

A, B = jax.random.normal(jax.random.key(0), (2, 2, 3))
MASK = jnp.array([[True, False, True], [False, False, True]])
BASES = {
    "Normal": Normal(A, B),
    "Normal far away": Normal(1e30 * A, B),
    "Normal with scale 1e-20": Normal(A, jnp.full_like(B, -46.0)),
    "Exponential": Exponential(A),
    "Exponential of mean 1e30": Exponential(A - 69.0),
    "Bernoulli": Bernoulli(A),
    "Bernoulli with logits 1e4": Bernoulli(1e4 * A),
}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


def event(base):
    return base.sample(jax.random.key(1))


@every_base
def test_everything_observed_is_the_base(base):
    masked = Masked(base, jnp.ones((2, 3), bool))
    wanted = jax.value_and_grad(lambda d, x: d.log_prob(x), (0, 1))(base, event(base))
    value, gradients = jax.value_and_grad(lambda d, x: Masked(d, masked.mask).log_prob(x), (0, 1))(
        base, event(base)
    )
    assert float(value) == pytest.approx(float(wanted[0]), rel=1e-6)
    for got, exact in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted[1]), strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-6)
    assert float(masked.entropy()) == float(base.entropy())


@every_base
@pytest.mark.parametrize("missing", [jnp.nan, jnp.inf, -7.5, 0.0])
def test_nothing_observed_is_worth_nothing_whatever_stands_there(base, missing):
    def log_prob(base, value):
        return Masked(base, jnp.zeros((2, 3), bool)).log_prob(value)

    value, gradients = jax.value_and_grad(log_prob, (0, 1))(base, jnp.full((2, 3), missing))
    assert float(value) == 0.0
    for leaf in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(leaf, np.zeros((2, 3)))
    assert float(Masked(base, jnp.zeros((2, 3), bool)).entropy()) == 0.0


@every_base
def test_the_observed_part_is_scored_as_if_it_were_the_whole(base):
    observed = jax.tree.map(lambda leaf: leaf[MASK], base)
    value = event(base)
    holed = jnp.where(MASK, value, jnp.nan)
    got = jax.value_and_grad(lambda d, x: Masked(d, MASK).log_prob(x), (0, 1))(base, holed)
    exact = jax.value_and_grad(lambda d, x: d.log_prob(x), (0, 1))(observed, value[MASK])
    np.testing.assert_allclose(got[0], exact[0], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(got[1]), jax.tree.leaves(exact[1]), strict=True):
        np.testing.assert_allclose(a[MASK], b, rtol=1e-6)
        np.testing.assert_array_equal(a[~MASK], np.zeros(3))
    np.testing.assert_allclose(Masked(base, MASK).entropy(), observed.entropy(), rtol=1e-6)


@every_base
def test_samples_and_moments_fill_in_every_coordinate(base):
    masked = Masked(base, MASK)
    assert isinstance(masked, families.Distribution)
    assert masked.event_shape == (2, 3)
    assert masked.reparameterised == base.reparameterised
    np.testing.assert_array_equal(masked.sample(jax.random.key(1)), event(base))
    for name in ("mean", "variance", "mode"):
        np.testing.assert_array_equal(getattr(masked, name), getattr(base, name))
    value, log_prob = masked.sample_and_log_prob(jax.random.key(1))
    np.testing.assert_array_equal(value, event(base))
    np.testing.assert_allclose(log_prob, masked.log_prob(value), rtol=1e-6)


def test_every_family_of_one_array_has_a_point_that_stands_in_for_what_is_missing():
    """Zero gradients where nothing is observed, for all families whose coordinates factorise."""
    tried = set()
    for name in dir(families):
        family = getattr(families, name)
        if not (isinstance(family, type) and issubclass(family, Factorised)):
            continue
        for number in (1, 2, 3, 4):
            try:
                base = family(*[0.3 * A + 0.2 * i for i in range(number)])
            except (TypeError, ValueError):
                continue

            def log_prob(base):
                return Masked(base, ~MASK & MASK).log_prob(jnp.full((2, 3), jnp.nan))

            for leaf in jax.tree.leaves(jax.grad(log_prob)(base)):
                np.testing.assert_array_equal(leaf, np.zeros((2, 3)), err_msg=name)
            tried.add(name)
            break
    assert tried >= {"Normal", "Exponential", "Bernoulli"}


def test_whole_numbers_keep_their_dtype():
    masked = Masked(Bernoulli(A), MASK)
    ones = jnp.ones((2, 3), jnp.int32)
    np.testing.assert_allclose(masked.log_prob(ones), masked.log_prob(jnp.ones((2, 3))), rtol=1e-6)


def test_masks_are_arrays_like_any_other():
    masks = jnp.stack([MASK, ~MASK])
    base = Normal(A, B)
    value = event(base)
    got = jax.jit(jax.vmap(lambda mask: Masked(base, mask).log_prob(value)))(masks)
    np.testing.assert_allclose(jnp.sum(got), base.log_prob(value), rtol=1e-6)


def test_misuse_says_what_to_do(without_type_checks):
    with pytest.raises(ValueError, match=r"Masked expected .*\(2, 3\), got \(3,\)"):
        Masked(Normal(A, B), jnp.ones(3, bool))
    with pytest.raises(ValueError, match="Boolean mask, got float32"):
        Masked(Normal(A, B), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="independent coordinates, got Categorical"):
        Masked(Categorical(A), MASK)
