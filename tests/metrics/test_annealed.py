from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE

from jaxvae import Example, metrics
from jaxvae.distributions import Bernoulli, Normal
from jaxvae.metrics.annealing.bridge import rising
from jaxvae.metrics.annealing.chains import anneal

PARAMS = ppca.inexact_params()
EXAMPLES = ppca.examples(200)


def evidence(examples):
    return ppca.exact_log_evidence(PARAMS.generative, examples.target)


def estimate(examples=EXAMPLES, *, params=PARAMS, model=ppca.model, **options):
    options = {"num_chains": 1, "num_temperatures": 8, "batch": 200, "num_leapfrog": 4} | options
    return metrics.annealed_log_likelihood(
        model, params, examples, key=jax.random.key(0), **options
    )


def bracket(number, *, params=PARAMS, model=ppca.model, seed=0, **options):
    options = {"num_chains": 1, "num_temperatures": 8, "batch": 2000, "num_leapfrog": 4} | options
    return metrics.bracket_log_likelihood(
        model, params, key=jax.random.key(seed), num_examples=number, **options
    )


def assert_mean(values, exact, what=""):
    """The mean is the exact one to four standard errors."""
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - exact) < 4 * error, f"{what}: {np.mean(values)} +- {error}"


@pytest.mark.parametrize(
    ("start", "few"),
    [
        (metrics.start_from_posterior, 6),
        pytest.param(metrics.start_from_prior, 60, marks=pytest.mark.exhaustive),
    ],
)
def test_weights_have_the_expectation_that_theory_gives_them_and_bounds_meet(start, few):
    # E[w] = p(x) forward, E[w] = 1/p(x) in reverse, however few the temperatures; from the prior,
    # fewer would give weights too heavy-tailed for a standard error.
    gaps = []
    for temperatures in (few, 8 * few):
        found = bracket(2000, num_temperatures=temperatures, initial=start)
        exact = evidence(found.examples)
        below = np.float64(found.lower.log_likelihood) - exact
        above = np.float64(found.upper.log_likelihood) - exact
        assert_mean(np.exp(below), 1.0, "forward")
        assert_mean(np.exp(-above), 1.0, "reverse")
        gaps.append((above - below).mean())
        if temperatures == few:
            assert below.mean() < -3 * below.std() / np.sqrt(2000)
            assert above.mean() > 3 * above.std() / np.sqrt(2000)
    error = np.sqrt((below.var() + above.var()) / 2000)
    assert gaps[0] > 0.03
    assert gaps[1] < 0.25 * gaps[0] + 3 * error


def test_both_bounds_are_the_evidence_where_chains_start_from_the_exact_posterior():
    params = ppca.exact_params()
    found = bracket(50, params=params, num_chains=3, num_temperatures=5)
    exact = evidence(found.examples)
    for side in (found.lower, found.upper):
        np.testing.assert_allclose(side.log_likelihood, exact, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(side.effective_sample_size, 3.0, rtol=1e-4)


def test_the_simulated_examples_have_the_distribution_of_the_model():
    start = metrics.start_from_posterior
    x = np.float64(bracket(2000, num_temperatures=6, initial=start).examples.target)
    theta = PARAMS.generative
    weights, offset, log_noise = map(np.float64, theta)
    covariance = weights @ weights.T + np.exp(2 * log_noise) * np.eye(len(offset))
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (x - offset).T).T
    for column in whitened.T:
        assert_mean(column, 0.0)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(len(offset)), atol=0.15)


def binary_model():
    """One latent, eight binary observations: log p(x) by quadrature."""
    slopes = jnp.linspace(-3.0, 3.0, 8)
    return ppca.model._replace(
        prior=lambda params, context: Normal(context, jnp.zeros(1)),
        likelihood=lambda params, z, context: Bernoulli(slopes * z[0] + jnp.sin(3.0 * slopes)),
        posterior=lambda params, inputs, context: Normal(context, jnp.full(1, 0.1)),
    )


def test_a_model_that_is_not_gaussian_agrees_with_quadrature_and_sees_its_context():
    model, points = binary_model(), np.linspace(-10, 12, 4001)
    contexts = jnp.asarray(np.random.default_rng(0).uniform(-1, 2, size=(400, 1)), jnp.float32)
    found = bracket(400, model=model, contexts=contexts, num_temperatures=100, num_chains=4)
    np.testing.assert_array_equal(found.examples.context, contexts)

    def log_evidence(example):
        def joint(z):
            likelihood = model.likelihood(PARAMS, z[None], example.context)
            prior = model.prior(PARAMS, example.context)
            return likelihood.log_prob(example.target) + prior.log_prob(z[None])

        return jax.nn.logsumexp(jax.vmap(joint)(jnp.asarray(points, jnp.float32)))

    exact = jax.jit(jax.vmap(log_evidence))(found.examples) + np.log(points[1] - points[0])
    # Rounding of 4001 terms in float32, and bounds that are 0.003 apart.
    for side in (found.lower, found.upper):
        error = np.std(side.log_likelihood - exact) / np.sqrt(400)
        assert abs(np.mean(side.log_likelihood - exact)) < 4 * error + 0.005
        assert error < 0.01


def test_chunks_and_batches_change_nothing():
    # In float64, as the rounding of float32 tips an acceptance here and there.
    with jax.enable_x64(True):
        some, params = jax.tree.map(
            lambda leaf: leaf.astype("float64"),
            (jax.tree.map(lambda leaf: leaf[:12], EXAMPLES), PARAMS),
        )
        whole = estimate(some, params=params, num_chains=6, chunk=6, batch=12)
        parts = estimate(some, params=params, num_chains=6, chunk=2, batch=4)
        assert whole.log_likelihood.dtype == "float64"
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), parts, whole)


def test_the_effective_sample_size_is_that_of_the_chains_own_weights():
    # The first chains are the same whatever their number, so differences of sums are weights.
    found = [estimate(num_chains=k) for k in (1, 2)]
    sums = [k * np.exp(np.float64(f.log_likelihood)) for k, f in enumerate(found, 1)]
    weights = np.stack([sums[0], sums[1] - sums[0]])
    assert np.all(weights > -1e-4 * sums[1])
    exact = weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)
    np.testing.assert_allclose(found[1].effective_sample_size, exact, rtol=1e-3)
    np.testing.assert_allclose(found[0].effective_sample_size, 1.0, rtol=1e-5)


@pytest.mark.parametrize("log_evidence", [-2e4])
def test_a_chain_adds_up_thousands_of_nats_without_losing_digits(log_evidence):
    # Prior and posterior are equal and the likelihood ignores z: every ratio is log p(x).
    standard = Normal.standard((1,))
    model = ppca.model._replace(
        prior=lambda params, context: standard,
        posterior=lambda params, inputs, context: standard,
        likelihood=lambda params, z, context: Normal(
            jnp.zeros(1), jnp.full(1, -0.5 * np.log(2 * np.pi) - log_evidence)
        ),
    )
    zeros = jnp.zeros((1, 1))
    found = estimate(Example(zeros, zeros), model=model, num_temperatures=3000, num_chains=2)
    np.testing.assert_allclose(found.log_likelihood, log_evidence, rtol=3e-7)


def test_step_sizes_fit_each_temperature_and_acceptance_is_reported():
    # From priors a hundred times as narrow or as wide, the first step size fits nothing.
    theta = PARAMS.generative
    model = ppca.model._replace(
        prior=lambda params, scale: Normal(jnp.zeros(2), jnp.log(scale)),
        likelihood=lambda params, z, scale: Normal(theta.weights @ (z / scale), jnp.full(5, -0.4)),
    )
    for scale in (1e-2, 1e2):
        found = estimate(
            EXAMPLES._replace(context=jnp.full((200, 2), scale)),
            model=model,
            initial=metrics.start_from_prior,
            num_chains=8,
            num_temperatures=40,
        )
        assert 0.7 < np.mean(found.acceptance) < 0.9
        assert np.all(found.lowest_acceptance <= found.acceptance)
        assert np.all(found.lowest_acceptance > 0)


def test_memory_does_not_grow_with_chains_and_hardly_with_examples():
    def peak(number, num_chains):
        lowered = metrics.annealed_log_likelihood.lower(
            ppca.model, PARAMS, ppca.examples(number), key=jax.random.key(0),
            num_chains=num_chains, num_temperatures=5,
        )  # fmt: skip
        return lowered.compile(compiler_options=RUN_ONCE).memory_analysis().temp_size_in_bytes

    small = peak(32, 32)
    # Each chain leaves its weight and four acceptances, 16 examples at a time.
    assert peak(320, 3200) < small + 16 * 3200 * 8 * 10 + 320 * 200


@pytest.mark.parametrize("number", [2, 7, 100])
def test_schedules_rise_from_0_to_1_and_the_sigmoid_is_that_of_the_paper(number):
    steps = np.linspace(-1, 1, number + 1)
    sigmoid = 1 / (1 + np.exp(-4 * steps))
    expected = (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])
    np.testing.assert_allclose(metrics.sigmoidal_schedule(number), expected, atol=1e-14)
    np.testing.assert_allclose(metrics.linear_schedule(number), (steps + 1) / 2, atol=1e-14)
    for schedule in (metrics.sigmoidal_schedule, metrics.linear_schedule):
        values = schedule(number).astype(np.float32)
        assert (values[0], values[-1]) == (0.0, 1.0)
        assert np.all(np.diff(values) > 0)


SCHEDULES = {
    "one too few": (lambda n: np.linspace(0.0, 1.0, n), r"return 9 temperatures, .* shape \(8,\)"),
    "does not begin at 0": (lambda n: np.linspace(0.2, 1.0, n + 1), "from 0 to 1, got 0.2 to 1"),
    "does not reach 1": (lambda n: np.arange(n + 1) / (n + 1), "got 0 to 0.888889"),
    "in percent": (lambda n: np.linspace(0.0, 100.0, n + 1), "got 0 to 100 .*divide by the last"),
    "turns back": (lambda n: np.array([0, 1, 0.5, 1, 1, 1, 1, 1, 1]), "lowest step of -0.5"),
    "not a number": (lambda n: np.linspace(0.0, 1.0, n + 1) ** np.nan, "rise from 0 to 1"),
}


@pytest.mark.parametrize(("schedule", "message"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_that_do_not_rise_from_0_to_1_are_refused(schedule, message):
    for call in (partial(estimate, EXAMPLES), partial(bracket, 3)):
        with pytest.raises(ValueError, match=message):
            call(schedule=schedule)


def test_a_schedule_may_be_made_by_jax():
    # It is read while the chains are traced, where other arrays have no values.
    scaled = jax.jit(lambda x: x * rising(lambda n: jnp.linspace(0.0, 1.0, n + 1), 8)[3].item())
    assert scaled(2.0) == 2.0 * 3 / 8


def test_a_chain_compensates_for_the_rounding_of_its_sum():
    # Ten thousand terms of one sign: a plain sum in float32 is off by hundreds of roundings.
    number, value = 10_000, -12_345.678
    flat = (lambda z: 0.0 * jnp.sum(z), lambda z: 0.0 * jnp.sum(z) + value)
    temperatures = jnp.linspace(0.0, 1.0, number + 1)
    chain = anneal(
        flat,
        temperatures,
        jnp.ones(number - 1),
        jnp.zeros(1),
        key=jax.random.key(0),
        num_leapfrog=1,
    )
    changes = np.float64(jnp.diff(temperatures) * jnp.float32(value))
    np.testing.assert_allclose(chain.log_weight, np.sum(changes), rtol=1.3e-7)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="num_chains expected a positive integer, got 0"):
        estimate(num_chains=0)
    with pytest.raises(ValueError, match="num_temperatures expected at least 2, got 1"):
        bracket(3, num_temperatures=1)
    coin = Bernoulli(jnp.zeros(2))
    discrete = ppca.model._replace(
        prior=lambda params, context: coin, posterior=lambda params, inputs, context: coin
    )
    for call in (partial(estimate, EXAMPLES), partial(bracket, 3)):
        with pytest.raises(ValueError, match=r"continuous latent, got the prior Bernoulli of flo"):
            call(model=discrete)


@pytest.mark.usefixtures("without_type_checks")
def test_the_number_of_temperatures_is_an_integer():
    for call in (partial(estimate, EXAMPLES), partial(bracket, 3)):
        with pytest.raises(ValueError, match=r"num_temperatures expected a positive .* got 8.0"):
            call(num_temperatures=8.0)
