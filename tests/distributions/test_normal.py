import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
from oracles import SUM_ROUNDING
from scipy import stats

from jaxvae.distributions import Normal

# (loc, scale, standardised value); a value next to a large mean is not representable, so loc
# follows the scale.
CASES = [
    (0.0, 1.0, 0.0),
    (-1.5, 0.3, 2.0),
    (7.0, 25.0, -3.0),
    (0.0, 1e-20, 1.5),
    (2e-20, 1e-20, -30.0),
    (0.0, 1e20, 0.7),
    (-3e20, 1e20, 40.0),
    (0.0, 1.0, 1e4),
]


def case(loc, scale, standardised):
    """The distribution and value in float32, with the same numbers in float64."""
    normal = Normal(jnp.float32(loc), jnp.float32(np.log(scale)))
    value = jnp.float32(loc + scale * standardised)
    exact = np.float64(normal.loc), np.exp(np.float64(normal.log_scale)), np.float64(value)
    return normal, value, exact


@pytest.mark.parametrize("parameters", CASES)
def test_log_prob_is_that_of_scipy_and_numpyro(parameters):
    normal, value, (loc, scale, x) = case(*parameters)
    got = normal.log_prob(value)
    np.testing.assert_allclose(got, stats.norm.logpdf(x, loc, scale), rtol=2e-6)
    oracle = numpyro.Normal(normal.loc, normal.scale).log_prob(value)
    np.testing.assert_allclose(got, oracle, rtol=2e-5)


@pytest.mark.parametrize("parameters", CASES)
def test_entropy_mean_mode_and_scale_are_those_of_scipy_and_numpyro(parameters):
    normal, _, (loc, scale, _) = case(*parameters)
    np.testing.assert_allclose(normal.entropy(), stats.norm.entropy(loc, scale), rtol=1e-6)
    if 1e-15 < scale < 1e15:  # numpyro squares the scale, which leaves float32
        oracle = numpyro.Normal(normal.loc, normal.scale)
        np.testing.assert_allclose(normal.entropy(), oracle.entropy(), rtol=1e-5)
    np.testing.assert_allclose(normal.scale, scale, rtol=1e-6)
    assert float(normal.mean) == float(normal.mode) == loc


@pytest.mark.parametrize("parameters", CASES)
def test_score_is_its_closed_form(parameters):
    normal, value, (loc, scale, x) = case(*parameters)
    noise = (x - loc) / scale
    wrt_normal, wrt_value = jax.grad(lambda n, v: n.log_prob(v), argnums=(0, 1))(normal, value)
    np.testing.assert_allclose(wrt_normal.loc, noise / scale, rtol=2e-6)
    np.testing.assert_allclose(wrt_normal.log_scale, noise**2 - 1, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(wrt_value, -noise / scale, rtol=2e-6)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1e-20), (-1.0, 0.5), (3.0, 2.0), (0.0, 1e20)])
def test_density_integrates_to_one(loc, scale):
    normal, _, (loc, scale, _) = case(loc, scale, 0.0)
    grid = jnp.asarray(loc + scale * np.linspace(-12, 12, 2001), jnp.float32)
    density = np.exp(np.float64(jax.vmap(normal.log_prob)(grid)))
    np.testing.assert_allclose(np.trapezoid(density, np.float64(grid)), 1.0, rtol=1e-5)


def test_log_prob_and_entropy_sum_over_every_event_axis():
    loc, log_scale, value = jax.random.normal(jax.random.key(0), (3, 2, 5))
    reference = stats.norm(loc, np.exp(np.float64(log_scale)))
    normal = Normal(loc, log_scale)
    np.testing.assert_allclose(
        normal.log_prob(value), reference.logpdf(value).sum(), rtol=1e-6, atol=SUM_ROUNDING
    )
    np.testing.assert_allclose(
        normal.entropy(), reference.entropy().sum(), rtol=1e-6, atol=SUM_ROUNDING
    )


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (-4.0, 0.01), (0.0, 1e-20), (1e20, 1e20)])
def test_samples_pass_kolmogorov_smirnov(loc, scale):
    normal, _, (loc, scale, _) = case(loc, scale, 0.0)
    samples = jax.vmap(normal.sample)(jax.random.split(jax.random.key(1), 20_000))
    assert stats.kstest(np.float64(samples), stats.norm(loc, scale).cdf).pvalue > 1e-3


def test_components_of_a_sample_are_independent():
    normal = Normal(jnp.zeros(2), jnp.zeros(2))
    samples = jax.vmap(normal.sample)(jax.random.split(jax.random.key(2), 20_000))
    assert abs(np.corrcoef(samples.T)[0, 1]) < 4 / np.sqrt(20_000)


# f, and E f(z) for z ~ N(m, exp(s)^2)
EXPECTATIONS = {
    "square": (jnp.square, lambda m, s: m**2 + jnp.exp(2 * s)),
    "sine": (jnp.sin, lambda m, s: jnp.sin(m) * jnp.exp(-jnp.exp(2 * s) / 2)),
    "exponential": (jnp.exp, lambda m, s: jnp.exp(m + jnp.exp(2 * s) / 2)),
}


@pytest.mark.parametrize("name", EXPECTATIONS)
@pytest.mark.parametrize(("loc", "log_scale"), [(0.4, -0.7), (-1.2, 0.1)])
def test_pathwise_gradient_is_that_of_the_expectation(name, loc, log_scale):
    f, expectation = EXPECTATIONS[name]

    def pathwise(loc, log_scale, key):
        return f(Normal(loc, log_scale).sample(key))

    keys = jax.random.split(jax.random.key(3), 50_000)
    parameters = jnp.float32(loc), jnp.float32(log_scale)
    gradients = jax.vmap(jax.grad(pathwise, (0, 1)), (None, None, 0))(*parameters, keys)
    for samples, exact in zip(gradients, jax.grad(expectation, (0, 1))(*parameters), strict=True):
        error = np.mean(samples) - exact
        assert abs(error) < 4 * np.std(samples) / np.sqrt(len(keys))


def test_sample_carries_the_density_of_its_noise_where_dividing_it_out_would_lose_it():
    normal = Normal(jnp.float32(1.0), jnp.float32(-46.0))  # 1 + 1e-20 is 1 in float32
    value, log_prob = normal.sample_and_log_prob(jax.random.key(4))
    noise = np.float64(jax.random.normal(jax.random.key(4), ()))
    assert float(value) == 1.0
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(noise) + 46.0, rtol=1e-6)


def test_from_scale_and_standard_name_the_same_family():
    scale = jnp.array([1e-20, 0.5, 1e20])
    np.testing.assert_allclose(Normal.from_scale(jnp.zeros(3), scale).scale, scale, rtol=1e-5)
    standard = Normal.standard((2, 3))
    np.testing.assert_array_equal(standard.loc, np.zeros((2, 3)))
    np.testing.assert_array_equal(standard.scale, np.ones((2, 3)))


@pytest.mark.usefixtures("without_type_checks")
def test_parameters_are_not_broadcast():
    with pytest.raises(ValueError, match=r"loc \(3,\), log_scale \(\).*broadcast_to"):
        Normal(jnp.zeros(3), jnp.zeros(()))
