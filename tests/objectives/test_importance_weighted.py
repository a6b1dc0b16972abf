"""Importance-weighted bounds against exact expectations over pairs of draws, and against theory."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import known_draws
import mixed
import mpmath
import numpy as np
import ppca
import pytest

from jaxvae import metrics, objectives
from jaxvae.distributions import Bernoulli, Normal, Product
from jaxvae.model import Example, Params
from jaxvae.objectives import by_factor, elbo, iwae, renyi

PARAMS = ppca.inexact_params()
EXAMPLE = jax.tree.map(lambda leaf: leaf[0], ppca.examples(1))
EVIDENCE = float(ppca.exact_log_evidence(PARAMS.generative, np.asarray(EXAMPLE.target)))


def bounds(objective=iwae, params=PARAMS, size=20_000, **options):
    @jax.jit
    @jax.vmap
    def one(key):
        return objective(ppca.model, params, EXAMPLE, key=key, **options)

    return jax.tree.map(np.float64, one(jax.random.split(jax.random.key(4), size)))


def test_one_sample_is_the_elbo_with_a_sampled_divergence():
    single = bounds(num_samples=1, size=50).bound
    elbos = bounds(elbo, kl=objectives.monte_carlo, size=50).bound
    np.testing.assert_allclose(single, elbos, rtol=1e-6)


def test_the_bound_rises_with_samples_and_never_passes_the_evidence():
    narrow = PARAMS.inference._replace(log_scale=ppca.exact_params().inference.log_scale - 0.5)
    params = PARAMS._replace(inference=narrow)
    means, errors = [], []
    for number, size in ((1, 40_000), (5, 40_000), (50, 20_000), (500, 5000)):
        got = bounds(params=params, num_samples=number, size=size)
        means.append(np.mean(got.bound))
        errors.append(np.std(got.bound) / np.sqrt(size))
        assert np.all(got.bound >= got.parts["elbo"] - 1e-4)
    for (smaller, larger), (first, second) in zip(
        itertools.pairwise(means), itertools.pairwise(errors), strict=True
    ):
        assert larger > smaller + 4 * np.hypot(first, second)
    assert means[-1] < EVIDENCE + 4 * errors[-1]


def test_with_the_exact_posterior_every_number_of_samples_gives_the_evidence():
    for alpha in (0.0, 0.5):
        got = bounds(renyi, ppca.exact_params(), 100, num_samples=7, alpha=alpha).bound
        np.testing.assert_allclose(got, np.full(100, EVIDENCE), rtol=3e-6)


def test_renyi_lies_between_the_elbo_and_iwae():
    options = {"num_samples": 10, "size": 2000}
    values = [bounds(renyi, alpha=alpha, **options).bound for alpha in (0.0, 0.3, 0.7, 0.999)]
    for larger, smaller in itertools.pairwise(values):
        assert np.all(larger >= smaller - 1e-4)
    weights = bounds(renyi, alpha=0.0, **options)
    np.testing.assert_array_equal(values[0], bounds(iwae, **options).bound)
    np.testing.assert_allclose(values[3], weights.parts["elbo"], atol=0.02)


ALPHAS = [0.0, 0.5, 0.9, 0.999, 1 - 1e-5, 1 - 1e-8, 1 - 1e-12]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    ("centre", "spread"), [(0.0, 1e-3), (0.0, 3.0), (-300.0, 30.0), (0.0, 1e3)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_renyi_keeps_its_digits_up_to_the_elbo(alpha, centre, spread, dtype):
    with jax.enable_x64(dtype == "float64"):
        drawn = np.random.default_rng(0).normal(centre, spread, size=50)
        log_w = jnp.asarray(drawn, dtype)

        def estimate(log_w):
            return renyi(
                known_draws.MODEL,
                known_draws.PARAMS,
                jax.tree.map(lambda leaf: leaf.astype(dtype), known_draws.EXAMPLE),
                key=jax.random.key(0),
                num_samples=50,
                alpha=alpha,
                gradient=known_draws.weighing(log_w),
            ).surrogate

        value, gradient = jax.value_and_grad(estimate)(log_w)
    with mpmath.workdps(60):
        order = 1 - mpmath.mpf(alpha)
        exact = [mpmath.mpf(float(value)) for value in log_w]
        terms = [mpmath.exp(order * (each - max(exact))) for each in exact]
        total = mpmath.fsum(terms)
        expected = float(max(exact) + mpmath.log(total / 50) / order)
        shares = [float(term / total) for term in terms]
    rounding = np.finfo(dtype).eps
    np.testing.assert_allclose(value, expected, atol=4 * rounding * np.max(np.abs(drawn)))
    # An exponent of a thousand nats is known to a thousand roundings.
    np.testing.assert_allclose(
        gradient, shares, rtol=8 * rounding * max(1.0, spread), atol=rounding
    )


def test_a_bound_is_minus_infinity_where_nothing_has_weight():
    for alpha in (0.0, 0.5):
        estimate = renyi(
            known_draws.MODEL,
            known_draws.PARAMS,
            known_draws.EXAMPLE,
            key=jax.random.key(0),
            num_samples=3,
            alpha=alpha,
            gradient=known_draws.weighing(jnp.full(3, -jnp.inf)),
        )
        assert estimate.bound == -jnp.inf


DISCRETE = {
    "score": {"gradient": objectives.score_function},
    "VIMCO": {"gradient": objectives.score_function, "baseline": objectives.leave_one_out},
}
MIXED = {
    "score": {"gradient": objectives.score_function},
    "score and pathwise": {"gradient": by_factor(objectives.score_function, objectives.pathwise)},
    "VIMCO and pathwise": {
        "gradient": by_factor(objectives.score_function, objectives.pathwise),
        "baseline": objectives.leave_one_out,
    },
    "VIMCO and double": {
        "gradient": by_factor(objectives.score_function, objectives.doubly_reparameterised),
        "baseline": objectives.leave_one_out,
    },
}


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize(
    ("model", "options"),
    [(mixed.discrete, options) for options in DISCRETE.values()]
    + [(mixed.mixed, options) for options in MIXED.values()],
    ids=[f"discrete {name}" for name in DISCRETE] + [f"mixed {name}" for name in MIXED],
)
def test_gradients_and_bounds_of_two_weights_are_exact_in_the_mean(model, options, alpha):
    params = model.init(jax.random.key(0))
    got, gradient = mixed.estimates(
        renyi, model, params, 40_000, num_samples=2, alpha=alpha, **options
    )
    exact = jax.jit(jax.value_and_grad(partial(mixed.exact_bound, model)))
    value, expected = exact(params, alpha)
    mixed.assert_unbiased(gradient, expected)
    mixed.assert_unbiased(got.bound, value)
    np.testing.assert_allclose(got.surrogate, got.bound, rtol=1e-5, atol=1e-5)


NESTED = mixed.mixed._replace(
    init=lambda key: Params(None, jnp.array([0.3, 0.5, 0.1, -0.2])),
    prior=lambda params, context: Product(
        (Product((Bernoulli(jnp.zeros(1)), Normal.standard((1,)))), Bernoulli(jnp.zeros(1)))
    ),
    likelihood=lambda params, z, context: Normal(
        jnp.broadcast_to(z[0][0] + 2.0 * z[0][1] - z[1], (2,)), jnp.full(2, -1.0)
    ),
    posterior=lambda params, x, context: Product(
        (
            Product(
                (
                    Bernoulli(params.inference[:1]),
                    Normal(params.inference[1:2], params.inference[2:3]),
                )
            ),
            Bernoulli(params.inference[3:]),
        )
    ),
)


def nested(inner):
    score = objectives.score_function
    return by_factor(by_factor(score, inner), score)


def test_a_factor_of_a_factor_keeps_its_double_reparameterisation():
    def gradients(inner):
        _, gradient = mixed.estimates(
            iwae,
            NESTED,
            NESTED.init(None),
            100_000,
            num_samples=4,
            gradient=nested(inner),
            baseline=objectives.leave_one_out,
        )
        return gradient.inference

    path, double = gradients(objectives.pathwise), gradients(objectives.doubly_reparameterised)
    error = np.hypot(np.std(path, axis=0), np.std(double, axis=0)) / np.sqrt(100_000)
    assert np.all(np.abs(np.mean(path, axis=0) - np.mean(double, axis=0)) < 4 * error)


def test_paths_of_a_factor_and_of_its_factors_are_all_doubly_reparameterised_or_none():
    double, score = objectives.doubly_reparameterised, objectives.score_function
    q = NESTED.posterior(NESTED.init(None), mixed.X, None)
    bad = Product((q.factors[0], q.factors[0].factors[1]))
    estimator = by_factor(by_factor(score, objectives.pathwise), double)
    with pytest.raises(ValueError, match="for every factor that carries a gradient, or for none"):
        estimator(bad, key=jax.random.key(0), num_samples=2, temperature=0.5)
    with pytest.raises(ValueError, match="use iwae"):
        elbo(
            NESTED,
            NESTED.init(None),
            mixed.EXAMPLE,
            key=jax.random.key(0),
            kl=objectives.monte_carlo,
            gradient=nested(double),
        )


# q(z) of one number: the mixed model with a single label.
def line(gradient, **options):
    model = mixed.mixed._replace(
        posterior=lambda params, x, context: mixed.mixed.posterior(params, x, context).given(
            mixed.LABELS[0]
        ),
        prior=lambda params, context: mixed.mixed.prior(params, context).given(mixed.LABELS[0]),
        likelihood=lambda params, z, context: mixed.mixed.likelihood(
            params, (mixed.LABELS[0], z), context
        ),
    )
    params = model.init(jax.random.key(0))
    return (
        model,
        params,
        mixed.estimates(renyi, model, params, 40_000, num_samples=2, gradient=gradient, **options),
    )


def line_bound(model, params, alpha, stopped=False):
    q = model.posterior(params, mixed.X, None)
    z = jax.vmap(q.transform)(mixed.NODES)
    density = jax.lax.stop_gradient(q) if stopped else q
    log_w = (1 - alpha) * mixed.log_weights(model, params, z, density)
    bound = (jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2.0)) / (1 - alpha)
    weight = mixed.LOG_WEIGHTS[:, None] + mixed.LOG_WEIGHTS[None, :]
    return jnp.sum(jnp.exp(weight) * bound)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize(
    "gradient",
    [objectives.pathwise, objectives.score_function, objectives.doubly_reparameterised],
)
def test_continuous_gradients_are_exact_in_the_mean(gradient, alpha):
    model, params, (got, gradients) = line(gradient, alpha=alpha)
    value, exact = jax.jit(jax.value_and_grad(partial(line_bound, model)))(params, alpha)
    mixed.assert_unbiased(gradients, exact)
    mixed.assert_unbiased(got.bound, value)


def test_sticking_the_landing_has_the_bias_that_theory_predicts():
    model, params, (_, gradients) = line(objectives.sticking_the_landing, alpha=0.0)
    predicted = jax.jit(jax.grad(lambda p: line_bound(model, p, 0.0, stopped=True)))(params)
    mixed.assert_unbiased(gradients, predicted)
    exact = jax.jit(jax.grad(lambda p: line_bound(model, p, 0.0)))(params)
    error, standard_error = mixed.errors(gradients.inference, exact.inference)
    assert np.max(np.abs(error) / standard_error) > 10


def test_signal_to_noise_of_the_posterior_grows_with_samples_only_if_doubly_reparameterised():
    examples = ppca.examples(4)

    def ratio(gradient, number):
        loss = partial(iwae, ppca.model, num_samples=number, gradient=gradient)
        report = metrics.gradient_report(
            loss, PARAMS, examples, key=jax.random.key(1), num_keys=2000
        )
        return float(report["inference"].signal_to_noise)

    # Beyond a few samples each fourfold K halves the one and doubles the other.
    plain = [ratio(objectives.pathwise, number) for number in (64, 256, 1024)]
    double = [ratio(objectives.doubly_reparameterised, number) for number in (64, 256, 1024)]
    np.testing.assert_allclose(np.divide(plain[:-1], plain[1:]), 2.0, rtol=0.2)
    np.testing.assert_allclose(np.divide(double[1:], double[:-1]), 2.0, rtol=0.2)


def test_a_relaxed_bound_is_that_of_the_hard_events():
    params = mixed.discrete.init(jax.random.key(0))
    got, _ = mixed.estimates(
        iwae, mixed.discrete, params, num_samples=2, gradient=objectives.gumbel_softmax
    )
    exact = jax.jit(partial(mixed.exact_bound, mixed.discrete))
    mixed.assert_unbiased(got.bound, exact(params))
    assert abs(np.mean(got.surrogate) - np.mean(got.bound)) > 0.01


REFUSED = {
    "alpha of one": ({"alpha": 1.0}, r"alpha expected a number in \[0, 1\).*elbo"),
    "negative alpha": ({"alpha": -0.1}, "alpha expected"),
    "no samples": ({"num_samples": 0}, "num_samples expected a positive integer"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_settings_are_refused(options, message):
    options = {"num_samples": 2, "alpha": 0.0} | options
    with pytest.raises(ValueError, match=message):
        renyi(ppca.model, PARAMS, EXAMPLE, key=jax.random.key(0), **options)


def test_enumeration_has_no_importance_weights():
    model = mixed.discrete
    with pytest.raises(ValueError, match="expected sampled latents, got enumerated"):
        iwae(
            model,
            model.init(None),
            mixed.EXAMPLE,
            key=jax.random.key(0),
            num_samples=2,
            gradient=objectives.enumerated,
        )


def test_double_reparameterisation_needs_a_path():
    model = ppca.model._replace(posterior=lambda params, x, context: Bernoulli(jnp.zeros(2)))
    with pytest.raises(ValueError, match=r"doubly_reparameterised expected .* got Bernoulli"):
        iwae(
            model,
            PARAMS,
            EXAMPLE,
            key=jax.random.key(0),
            num_samples=2,
            gradient=objectives.doubly_reparameterised,
        )


def test_settings_of_another_bound_are_refused(without_type_checks):
    """They would be left unread, or be missed as an attribute."""
    model, params, example = None, None, Example(None, None)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"expected ImportanceSettings\(\.\.\.\), got ElboSett"):
        objectives.iwae(
            model, params, example, key=key, settings=objectives.ElboSettings(), num_samples=2
        )
    with pytest.raises(ValueError, match=r"settings of elbo expected ElboSettings"):
        objectives.elbo(model, params, example, key=key, settings=objectives.ImportanceSettings())


@pytest.mark.parametrize("bound", [objectives.elbo, partial(objectives.iwae, num_samples=2)])
def test_a_row_that_is_no_example_is_refused(bound, without_type_checks):
    with pytest.raises(ValueError, match=r"expected Example\(\.\.\.\), got Array"):
        bound(None, None, jnp.zeros(3), key=jax.random.key(0))


@pytest.mark.parametrize("argument", ["kl", "gradient", "baseline"])
def test_names_of_functions_are_no_functions(argument, without_type_checks):
    example, key = Example(None, None), jax.random.key(0)
    wrong = {argument: "analytic"}
    with pytest.raises(ValueError, match=f"expected a function as {argument}, got 'analytic'"):
        objectives.elbo(None, None, example, key=key, **wrong)
    if argument != "kl":
        with pytest.raises(ValueError, match="bound expected a function as"):
            objectives.iwae(None, None, example, key=key, num_samples=2, **wrong)
