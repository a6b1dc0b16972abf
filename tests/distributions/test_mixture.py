import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import SUM_ROUNDING, assert_alike, assert_near
from scipy import stats

from jaxvae.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Exponential,
    Joint,
    Mixture,
    Normal,
    Product,
)

# (logits, locations, log-scales): components up to 1e4 nats apart, and weights as far.
CASES = {
    "ordinary": ([0.3, -1.0, 1.2], [0.0, -2.0, 3.0], [0.0, 0.5, -1.0]),
    "one component": ([2.0], [1.0], [0.3]),
    "the same twice": ([0.0, 0.0], [1.0, 1.0], [0.3, 0.3]),
    "far apart": ([0.0, 0.0], [-140.0, 140.0], [0.0, 0.0]),
    "farther": ([0.0, 1.0], [0.0, 1e4], [0.0, 0.0]),
    "logits 1e4": ([1e4, -1e4], [0.0, 1.0], [0.0, 0.0]),
    "weights against distance": ([5000.0, 0.0], [-100.0, 0.0], [0.0, 0.0]),
    "a spike": ([0.0, 0.0], [0.5, 0.0], [-12.0, 0.0]),
    "a flood": ([0.0, 0.0], [0.0, 0.0], [20.0, 0.0]),
    "many": (list(np.linspace(-3, 3, 20)), list(np.linspace(-5, 5, 20)), [0.2] * 20),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
POINTS = [0.0, 0.5, -3.0, 40.0]

# The mixture is an argument, so that cases of one size share a program.
log_probs = jax.jit(jax.vmap(lambda m, x: m.log_prob(x), (None, 0)))
responsibilities_of = jax.jit(jax.vmap(lambda m, x: m.responsibilities(x), (None, 0)))
scores_of = jax.jit(jax.vmap(jax.grad(lambda m, x: m.log_prob(x), (0, 1)), (None, 0)))
moments_of = jax.jit(lambda m: (m.mean, m.variance))


def make(case, dtype=jnp.float32):
    logits, loc, log_scale = (jnp.asarray(x, dtype) for x in case)
    return Mixture(Categorical(logits), Normal(loc, log_scale))


def exact(mixture, x):
    """Log-density, responsibilities and score in x, in mpmath."""
    mixture = jax.tree.map(np.asarray, mixture)
    logits = [mpmath.mpf(float(a)) for a in mixture.label.logits]
    normaliser = mpmath.log(mpmath.fsum(mpmath.exp(a) for a in logits))
    terms, scores = [], []
    parameters = mixture.components.loc, mixture.components.log_scale
    for a, loc, log_scale in zip(logits, *parameters, strict=True):
        scale = mpmath.exp(float(log_scale))
        noise = (mpmath.mpf(float(x)) - float(loc)) / scale
        log_p = -(noise**2) / 2 - mpmath.log(scale) - mpmath.log(2 * mpmath.pi) / 2
        terms.append(a - normaliser + log_p)
        scores.append(-noise / scale)
    total = mpmath.log(mpmath.fsum(mpmath.exp(t) for t in terms))
    weights = [mpmath.exp(t - total) for t in terms]
    return total, weights, mpmath.fdot(weights, scores)


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.float64, 1e-11)])
def test_log_prob_is_that_of_mpmath(case, dtype, tolerance):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
        mixture = make(case, dtype)
        got = log_probs(mixture, jnp.asarray(POINTS, dtype))
        assert_near(got, [float(exact(mixture, x)[0]) for x in POINTS], tolerance)


@every_case
def test_responsibilities_and_gradients_are_those_of_mpmath(case):
    with jax.enable_x64(True), mpmath.workdps(60):
        mixture, points = make(case, jnp.float64), jnp.asarray(POINTS)
        prior = np.asarray(mixture.label.mean)
        responsibilities = np.asarray(responsibilities_of(mixture, points))
        of_mixture, of_x = jax.tree.map(np.asarray, scores_of(mixture, points))
        for i, x in enumerate(POINTS):
            log_prob, weights, score = exact(mixture, x)
            weights = np.float64(weights)
            # Nats of size 1e8 have an absolute rounding of 1e-8, which a probability shows.
            rounding = 1e-15 * max(1e4, abs(float(log_prob)))
            np.testing.assert_allclose(responsibilities[i], weights, rounding, 1e-30)
            np.testing.assert_allclose(of_x[i], float(score), rounding, 1e-15)
            of_logits = of_mixture.label.logits[i]
            np.testing.assert_allclose(of_logits, weights - prior, rounding, 1e-11)


@pytest.mark.parametrize("case", [CASES["ordinary"], CASES["farther"]])
def test_it_is_the_joint_with_the_label_summed_out(case):
    mixture = make(case)
    joint = mixture.joint()
    assert isinstance(joint, Joint)
    labels, _, _ = joint.enumerate()
    x = jnp.float32(0.5)
    pairs = np.float64(jax.vmap(lambda k: joint.log_prob((k, x)))(labels))
    np.testing.assert_allclose(
        mixture.log_prob(x), np.logaddexp.reduce(pairs), rtol=1e-5, atol=SUM_ROUNDING
    )


def test_outside_every_support_density_and_gradients_vanish():
    mixture = Mixture(Categorical(jnp.array([0.0, 1.0])), Exponential(jnp.array([0.0, 2.0])))
    value, gradients = jax.value_and_grad(lambda m: m.log_prob(jnp.array(-1.0)))(mixture)
    assert float(value) == -jnp.inf
    for leaf in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(leaf, np.zeros(2))
    assert np.all(np.isnan(mixture.responsibilities(jnp.array(-1.0))))


@every_case
def test_mean_and_variance_are_those_of_the_total(case):
    with jax.enable_x64(True):
        mixture = make(case, jnp.float64)
        got = moments_of(mixture)
        mixture = jax.tree.map(np.asarray, mixture)
        with mpmath.workdps(60):
            raw = [mpmath.exp(float(a)) for a in mixture.label.logits]
            weights = [a / mpmath.fsum(raw) for a in raw]
            loc = [mpmath.mpf(float(a)) for a in mixture.components.loc]
            squares = [mpmath.exp(2 * float(a)) for a in mixture.components.log_scale]
            mean = mpmath.fdot(weights, loc)
            second = mpmath.fsum(
                w * (s + m * m) for w, s, m in zip(weights, squares, loc, strict=True)
            )
            variance = second - mean**2
        np.testing.assert_allclose(got[0], float(mean), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(got[1], float(variance), rtol=1e-12)


def test_a_component_without_weight_may_have_no_mean():
    mixture = Mixture(Categorical(jnp.array([0.0, -1e4])), Exponential(jnp.array([0.0, -1e3])))
    assert float(mixture.mean) == 1.0
    assert float(mixture.variance) == 1.0


def test_density_integrates_to_one_and_samples_pass_kolmogorov_smirnov():
    mixture = make(CASES["ordinary"])
    weights = np.float64(mixture.label.mean)
    parts = stats.norm(
        np.float64(mixture.components.loc), np.exp(np.float64(mixture.components.log_scale))
    )
    grid = np.linspace(-25, 25, 20_001)
    density = np.exp(np.float64(jax.vmap(mixture.log_prob)(jnp.float32(grid))))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1.0, rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 100_000)
    sample = np.asarray(jax.jit(jax.vmap(mixture.sample))(keys))
    assert stats.kstest(sample, lambda x: parts.cdf(x[:, None]) @ weights).pvalue > 1e-3


def test_events_may_be_arrays_or_tuples():
    a, b = jax.random.normal(jax.random.key(3), (2, 3, 4))
    components = Product((Normal(a, b), Bernoulli(b)))
    mixture = Mixture(Categorical(jnp.zeros(3)), components)
    assert isinstance(mixture, Distribution)
    assert mixture.event_shape == ((4,), (4,))
    value, log_prob = mixture.sample_and_log_prob(jax.random.key(1))
    assert_alike(value, mixture.sample(jax.random.key(1)))
    each = [
        Normal(a[k], b[k]).log_prob(value[0]) + Bernoulli(b[k]).log_prob(value[1])
        for k in (0, 1, 2)
    ]
    np.testing.assert_allclose(log_prob, np.logaddexp.reduce(np.float64(each)) - np.log(3), 1e-5)
    for name in ("mean", "variance"):
        assert [leaf.shape for leaf in getattr(mixture, name)] == [(4,), (4,)]
    p = np.float64(jax.nn.sigmoid(b)).mean(axis=0)
    np.testing.assert_allclose(mixture.variance[1], p * (1 - p), rtol=1e-5)
