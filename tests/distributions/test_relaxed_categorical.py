import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import SUM_ROUNDING, TOLERANCES
from scipy import stats

from jaxvae.distributions import Categorical, Distribution, RelaxedBernoulli, RelaxedCategorical

# Logits and log-temperatures; temperatures from 0.01 to 100.
SETTINGS = {
    "ordinary": ([0.3, -1.0, 1.2], 0.0),
    "usual": ([0.3, -1.0, 1.2], -0.5),
    "one category": ([2.0], 0.3),
    "two": ([0.7, 0.0], -1.0),
    "cold": ([0.3, -1.0, 1.2], -4.6),
    "hot": ([0.3, -1.0, 1.2], 4.6),
    "extreme": ([50.0, -50.0, 0.0], 0.0),
    "extreme and cold": ([50.0, -50.0, 0.0], -4.6),
    "extreme and hot": ([50.0, -50.0, 0.0], 4.6),
    "shifted": ([1e4, 1e4 + 2, 1e4 - 1], 0.5),
    "many": (list(np.linspace(-4, 4, 50)), 0.2),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
# A program for each number of categories and dtype; other numbers of them add no digits.
every_setting_and_dtype = pytest.mark.parametrize(
    ("setting", "dtype", "tolerance"),
    [
        pytest.param(
            setting,
            dtype,
            tolerance,
            id=f"{name}-{dtype.__name__}",
            marks=() if dtype == jnp.float32 or len(setting[0]) == 3 else pytest.mark.exhaustive,
        )
        for name, setting in SETTINGS.items()
        for dtype, tolerance in TOLERANCES.items()
    ],
)
POINTS = [[0.2, 0.5, 0.3], [1e-30, 0.9, 0.1], [0.999, 0.0009, 0.0001], [1e-37, 1e-37, 1.0]]

log_probs = jax.jit(jax.vmap(lambda q, x: q.log_prob(x), (None, 0)))
from_noise = jax.jit(lambda q, noise: q.transform_and_log_prob(noise))
score = jax.jit(jax.grad(lambda q, x: q.log_prob(x), (0, 1)))


def make(setting, dtype=jnp.float32):
    logits, log_temperature = setting
    return RelaxedCategorical(jnp.asarray(logits, dtype), jnp.asarray(log_temperature, dtype))


def log_density(x, logits, log_temperature):
    """In mpmath, as the definition has it."""
    size, temperature = len(x), mpmath.exp(log_temperature)
    total = mpmath.fsum(mpmath.exp(a) * p**-temperature for a, p in zip(logits, x, strict=True))
    product = mpmath.fsum(
        a - (temperature + 1) * mpmath.log(p) for a, p in zip(logits, x, strict=True)
    )
    constant = mpmath.loggamma(size) + (size - 1) * mpmath.mpf(log_temperature)
    return constant + product - size * mpmath.log(total)


def exact(array):
    return [mpmath.mpf(float(a)) for a in np.asarray(array)]


@every_setting_and_dtype
def test_log_prob_is_that_of_mpmath(setting, dtype, tolerance):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
        relaxed = make(setting, dtype)
        size = relaxed.event_shape[0]
        uneven = np.linspace(1, 3, size) / np.linspace(1, 3, size).sum()
        points = [uneven, *(POINTS if size == 3 else [])]
        points = jnp.asarray(np.array(points), dtype)
        for x, got in zip(*map(np.asarray, (points, log_probs(relaxed, points))), strict=True):
            wanted = log_density(
                exact(x), exact(relaxed.logits), mpmath.mpf(float(relaxed.log_temperature))
            )
            assert abs(float(got) - float(wanted)) <= tolerance * max(1, abs(float(wanted)))


@every_setting_and_dtype
def test_the_density_from_the_noise_is_exact_where_samples_round_to_an_edge(
    setting, dtype, tolerance
):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
        relaxed = make(setting, dtype)
        noise = jax.random.uniform(jax.random.key(3), (5, *relaxed.event_shape), dtype, 1e-6)
        for u in np.asarray(noise):
            x, got = from_noise(relaxed, u)
            assert np.all(np.asarray(x) > 0)
            scale = mpmath.exp(float(relaxed.log_temperature))
            logits = exact(relaxed.logits)
            raw = [
                mpmath.exp((a - mpmath.log(-mpmath.log(v))) / scale)
                for a, v in zip(logits, exact(u), strict=True)
            ]
            point = [a / mpmath.fsum(raw) for a in raw]
            wanted = float(log_density(point, logits, mpmath.log(scale)))
            assert abs(float(got) - wanted) <= tolerance * max(1, abs(wanted))
            np.testing.assert_allclose(x, np.float64(point), rtol=1e3 * tolerance, atol=1e-37)


def test_densities_are_normalised_on_the_simplex():
    with jax.enable_x64(True):
        for setting in (SETTINGS["usual"], SETTINGS["ordinary"], ([0.0, 1.0, -2.0], 0.7)):
            relaxed = make(setting, jnp.float64)
            # In additive logistic coordinates the density is smooth and the Jacobian prod(x).
            line = jnp.linspace(-60.0, 60.0, 601)
            a, b = (g.ravel() for g in jnp.meshgrid(line, line))
            log_x = jax.nn.log_softmax(jnp.stack([a, b, jnp.zeros_like(a)], -1))
            terms = log_probs(relaxed, jnp.exp(log_x)) + jnp.sum(log_x, -1)
            step = float(line[1] - line[0])
            np.testing.assert_allclose(np.exp(terms).sum() * step**2, 1.0, rtol=1e-7)


@pytest.mark.parametrize("log_temperature", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize("logit", [-5.0, 0.3, 20.0])
def test_two_categories_are_a_relaxed_bernoulli(logit, log_temperature):
    with jax.enable_x64(True):
        pair = RelaxedCategorical(jnp.array([logit, 0.0]), jnp.array(log_temperature))
        single = RelaxedBernoulli(jnp.array(logit), jnp.array(log_temperature))
        for x in (0.01, 0.4, 0.93):
            got = pair.log_prob(jnp.array([x, 1 - x]))
            np.testing.assert_allclose(got, single.log_prob(jnp.array(x)), rtol=1e-12)
        np.testing.assert_allclose(pair.mean, [single.mean, 1 - single.mean], atol=1e-14)


@every_setting
def test_gradients_are_those_of_differences_in_mpmath(setting):
    with jax.enable_x64(True), mpmath.workdps(60):
        relaxed = make(setting, jnp.float64)
        size = relaxed.event_shape[0]
        x = jnp.asarray(np.linspace(1, 3, size) / np.linspace(1, 3, size).sum())
        wrt, wrt_x = score(relaxed, x)
        fixed = exact(x), exact(relaxed.logits), mpmath.mpf(float(relaxed.log_temperature))
        of_temperature = mpmath.diff(lambda t: log_density(*fixed[:2], t), fixed[2])
        np.testing.assert_allclose(wrt.log_temperature, float(of_temperature), 1e-10, 1e-10)

        def moved(which, index, by):
            arguments = [list(fixed[0]), list(fixed[1])]
            arguments[which][index] += by
            return log_density(*arguments, fixed[2])

        for which, got in enumerate((wrt_x, wrt.logits)):
            wanted = mpmath.diff(lambda by, which=which: moved(which, 0, by), 0)
            np.testing.assert_allclose(got[0], float(wanted), rtol=1e-10, atol=1e-10)


def test_outside_the_simplex_density_and_gradients_vanish():
    relaxed = make(SETTINGS["usual"])
    for point in ([0.0, 0.5, 0.5], [-0.1, 0.6, 0.5], [1.0, 0.0, 0.0]):
        value, gradients = jax.value_and_grad(lambda d, x: d.log_prob(x), (0, 1))(
            relaxed, jnp.array(point)
        )
        assert float(value) == -jnp.inf
        for leaf in jax.tree.leaves(gradients):
            np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))


@pytest.mark.parametrize("log_temperature", [-4.6, -0.5, 0.7, 4.6])
def test_hard_samples_are_those_of_the_categorical_and_samples_average_to_the_mean(
    log_temperature,
):
    categorical = Categorical(jnp.array([0.3, -1.0, 1.2, -3.0]))
    relaxed = RelaxedCategorical.from_categorical(categorical, jnp.float32(log_temperature))
    keys = jax.random.split(jax.random.key(0), 100_000)
    soft, hard = jax.jit(jax.vmap(lambda k: (x := relaxed.sample(k), relaxed.hard(x))))(keys)
    expected = 100_000 * np.float64(categorical.mean)
    counts = np.float64(hard).sum(axis=0)
    assert stats.chisquare(counts, expected * (100_000 / expected.sum())).pvalue > 1e-3
    error = np.mean(np.float64(soft), axis=0) - np.float64(relaxed.mean)
    assert np.all(np.abs(error) <= 4 * np.std(soft, axis=0) / np.sqrt(100_000) + 1e-6)


def test_gradients_of_expectations_are_those_of_the_mean():
    relaxed = make(SETTINGS["usual"])

    def first(relaxed, key):
        return relaxed.sample(key)[0]

    keys = jax.random.split(jax.random.key(5), 100_000)
    each = jax.jit(jax.vmap(jax.grad(first), (None, 0)))(relaxed, keys)
    wanted = jax.grad(lambda d: d.mean[0])(relaxed)
    for got, exact in zip(jax.tree.leaves(each), jax.tree.leaves(wanted), strict=True):
        standard_error = np.std(got, axis=0) / np.sqrt(100_000)
        assert np.all(np.abs(np.mean(np.float64(got), axis=0) - exact) <= 4 * standard_error)


def test_limits_of_the_temperature():
    logits = jnp.array([0.3, -1.0, 1.2])
    cold = RelaxedCategorical(logits, jnp.float32(-12.0))
    np.testing.assert_allclose(cold.mean, Categorical(logits).mean, atol=1e-6)
    np.testing.assert_allclose(np.sort(cold.sample(jax.random.key(0))), [0.0, 0.0, 1.0], atol=1e-6)
    hot = RelaxedCategorical(logits, jnp.float32(12.0))
    np.testing.assert_allclose(hot.mean, np.full(3, 1 / 3), atol=1e-5)


def test_axes_before_the_last_are_independent_factors():
    logits = jax.random.normal(jax.random.key(0), (2, 3))
    relaxed = RelaxedCategorical(logits, jnp.float32(-0.3))
    assert isinstance(relaxed, Distribution)
    assert relaxed.event_shape == (2, 3)
    value, log_prob = relaxed.sample_and_log_prob(jax.random.key(1))
    rows = [RelaxedCategorical(row, relaxed.log_temperature) for row in logits]
    each = [row.log_prob(x) for row, x in zip(rows, value, strict=True)]
    np.testing.assert_allclose(log_prob, sum(map(float, each)), rtol=1e-5, atol=SUM_ROUNDING)
    np.testing.assert_allclose(relaxed.log_prob(value), log_prob, rtol=1e-5, atol=SUM_ROUNDING)
    np.testing.assert_allclose(relaxed.mean, jnp.stack([row.mean for row in rows]), rtol=1e-6)
    np.testing.assert_array_equal(relaxed.hard(value).sum(axis=-1), np.ones(2))


def test_misuse_says_what_to_do(without_type_checks):
    with pytest.raises(ValueError, match="scalar; use RelaxedBernoulli"):
        RelaxedCategorical(jnp.float32(0.0), jnp.float32(0.0))
    with pytest.raises(ValueError, match=r"one log_temperature of shape \(\), got \(3,\)"):
        RelaxedCategorical(jnp.zeros(3), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"log_prob expected one event of shape \(3,\), got"):
        RelaxedCategorical(jnp.zeros(3), jnp.float32(0.0)).log_prob(jnp.ones((2, 3)))
