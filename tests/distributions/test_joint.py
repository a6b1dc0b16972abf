import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SUM_ROUNDING, assert_alike
from scipy import stats

from jaxvae.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Exponential,
    Joint,
    Masked,
    Mixture,
    Normal,
    Product,
)

LABEL = Categorical(jnp.array([0.3, -1.0, 1.2]))
LOC, LOG_SCALE = jax.random.normal(jax.random.key(0), (2, 3, 2))
JOINT = Joint(LABEL, Normal(LOC, LOG_SCALE))
ONE_HOTS = jnp.eye(3)
X = jnp.array([0.4, -0.8])


def test_log_prob_is_that_of_the_label_and_of_its_component():
    weights = np.log(np.float64(LABEL.mean))
    for k in range(3):
        component = stats.norm(np.float64(LOC[k]), np.exp(np.float64(LOG_SCALE[k])))
        exact = weights[k] + component.logpdf(X).sum()
        np.testing.assert_allclose(
            JOINT.log_prob((ONE_HOTS[k], X)), exact, rtol=1e-5, atol=SUM_ROUNDING
        )


def test_given_selects_exactly_and_beside_infinite_parameters():
    extreme = Normal(
        jnp.array([[jnp.inf], [2.5], [-jnp.inf]]), jnp.array([[-jnp.inf], [0.1], [1.0]])
    )
    joint = Joint(LABEL, extreme)
    for k in range(3):
        component = joint.given(ONE_HOTS[k])
        np.testing.assert_array_equal(component.loc, extreme.loc[k])
        np.testing.assert_array_equal(component.log_scale, extreme.log_scale[k])
    gradients = jax.grad(lambda d: d.log_prob((ONE_HOTS[1], jnp.array([1.0]))))(joint)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))
    score = -1.5 * np.exp(-0.2)
    np.testing.assert_allclose(gradients.components.loc, [[0.0], [score], [0.0]], rtol=1e-5)


def test_given_blends_for_a_relaxed_label_and_its_gradient_sees_categories_without_weight():
    relaxed = jnp.array([0.2, 0.0, 0.8])
    blended = np.float64(relaxed) @ np.float64(LOC)
    np.testing.assert_allclose(JOINT.given(relaxed).loc, blended, rtol=1e-6)
    gradient = jax.grad(lambda label: JOINT.given(label).loc[0])(ONE_HOTS[0])
    np.testing.assert_array_equal(gradient, LOC[:, 0])


def test_integer_labels_and_flags_among_the_components_are_selected():
    masks = jnp.array([[True, False], [False, False], [True, True]])
    joint = Joint(LABEL, jax.vmap(Masked)(Normal(LOC, LOG_SCALE), masks))
    for k in range(3):
        np.testing.assert_array_equal(joint.given(jnp.eye(3, dtype=int)[k]).mask, masks[k])


def test_enumeration_sums_to_the_marginal():
    labels, log_probs, components = JOINT.enumerate()
    np.testing.assert_array_equal(labels, ONE_HOTS)
    np.testing.assert_allclose(np.exp(np.float64(log_probs)).sum(), 1.0, rtol=1e-6)
    by_pairs = jax.vmap(lambda k: JOINT.log_prob((k, X)))(labels)
    by_parts = jax.vmap(lambda log_p, c: log_p + c.log_prob(X))(log_probs, components)
    np.testing.assert_allclose(by_parts, by_pairs, rtol=1e-6)
    marginal = JOINT.marginal()
    assert isinstance(marginal, Mixture)
    total = np.log(np.exp(np.float64(by_pairs)).sum())
    np.testing.assert_allclose(marginal.log_prob(X), total, rtol=1e-6, atol=SUM_ROUNDING)


def test_samples_are_labels_and_values_of_their_components():
    assert isinstance(JOINT, Distribution)
    assert JOINT.event_shape == ((3,), (2,))
    assert not JOINT.reparameterised
    keys = jax.random.split(jax.random.key(1), 30_000)
    labels, x = jax.vmap(JOINT.sample)(keys)
    which = np.argmax(labels, axis=-1)
    expected = 30_000 * np.float64(LABEL.mean)
    counts = np.bincount(which, minlength=3)
    assert stats.chisquare(counts, expected * (30_000 / expected.sum())).pvalue > 1e-3
    for k in range(3):
        component = stats.norm(float(LOC[k, 0]), np.exp(float(LOG_SCALE[k, 0])))
        assert stats.kstest(np.asarray(x)[which == k, 0], component.cdf).pvalue > 1e-3
    probabilities, mean = JOINT.mean
    assert_alike(probabilities, LABEL.mean)
    error = np.mean(np.float64(x), axis=0) - np.float64(mean)
    assert np.all(np.abs(error) <= 4 * np.std(x, axis=0) / np.sqrt(30_000))


def test_sample_and_log_prob_agrees_with_sample_and_with_log_prob():
    for seed in range(5):
        value, log_prob = JOINT.sample_and_log_prob(jax.random.key(seed))
        assert_alike(value, JOINT.sample(jax.random.key(seed)))
        np.testing.assert_allclose(log_prob, JOINT.log_prob(value), rtol=1e-5, atol=SUM_ROUNDING)


def test_entropy_is_the_mean_of_minus_the_log_density():
    keys = jax.random.split(jax.random.key(4), 30_000)
    log_probs = np.float64(jax.vmap(lambda k: JOINT.sample_and_log_prob(k)[1])(keys))
    error = JOINT.entropy() + np.mean(log_probs)
    assert abs(error) <= 4 * np.std(log_probs) / np.sqrt(30_000)
    labels = Joint(LABEL, Bernoulli(jnp.zeros((3, 4))))
    exact = stats.entropy(np.float64(LABEL.mean)) + 4 * np.log(2)
    np.testing.assert_allclose(labels.entropy(), exact, rtol=1e-6)


def test_mode_is_the_most_probable_pair():
    # The heaviest label has the flattest component, so the peak is elsewhere.
    flat = Joint(LABEL, Exponential(jnp.array([3.0, 0.0, -3.0])))
    label, x = flat.mode
    np.testing.assert_array_equal(label, [1, 0, 0])
    assert float(x) == 0.0
    others = [float(flat.log_prob((k, jnp.array(0.0)))) for k in ONE_HOTS]
    assert np.argmax(others) == 0


def test_values_of_several_parts_and_scalars():
    parts = Product((Normal(LOC, LOG_SCALE), Exponential(jnp.arange(3.0))))
    joint = Joint(LABEL, parts)
    assert joint.event_shape == ((3,), ((2,), ()))
    got = joint.log_prob((ONE_HOTS[2], (X, jnp.array(0.5))))
    exact = LABEL.log_probs[2] + Normal(LOC[2], LOG_SCALE[2]).log_prob(X) + (2 - 0.5 * np.exp(2))
    np.testing.assert_allclose(got, exact, rtol=1e-6)
    (_, (a, b)) = joint.mean
    assert a.shape == (2,)
    np.testing.assert_allclose(b, np.exp(-np.arange(3.0)) @ np.float64(LABEL.mean), rtol=1e-6)


@pytest.mark.parametrize("family", [Joint, Mixture])
def test_misuse_says_what_to_do(family):
    name = family.__name__
    with pytest.raises(ValueError, match=f"{name} expected components .* axis of 3 .*jax.vmap"):
        family(LABEL, Normal.standard((2,)))
    with pytest.raises(ValueError, match=rf"{name} expected a label with logits of shape \(K,\)"):
        family(Categorical(jnp.zeros((2, 3))), Normal.standard((2, 3)))


def test_the_mode_weighs_peaks_by_the_probabilities_of_their_labels():
    # The first component has the higher peak, and a twentieth of the probability.
    components = Normal(jnp.array([0.0, 5.0]), jnp.array([0.0, 1.0]))
    label, x = Joint(Categorical(jnp.array([0.0, 3.0])), components).mode
    np.testing.assert_array_equal(label, [0.0, 1.0])
    assert float(x) == 5.0
