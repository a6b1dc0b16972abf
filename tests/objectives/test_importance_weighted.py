"""Importance-weighted bounds against exact expectations over pairs of draws, and against theory."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import known_draws
import mixed
import mpmath
import numpy as np
import ppca
import pytest
from samplers import RUN_ONCE

from jaxvae import metrics, objectives
from jaxvae.distributions import Bernoulli, Normal, Product
from jaxvae.model import Example, Params
from jaxvae.objectives import by_factor, elbo, iwae, renyi

PARAMS = ppca.inexact_params()
EXAMPLE = jax.tree.map(lambda leaf: leaf[0], ppca.examples(1))
ROUNDING = 3e-5
"""Of a bound, whose terms are at most some fifty nats and cancel."""
EVIDENCE = float(ppca.exact_log_evidence(PARAMS.generative, np.asarray(EXAMPLE.target)))


def bounds(objective=iwae, params=PARAMS, size=20_000, **options):
    @partial(jax.jit, compiler_options=RUN_ONCE)
    @partial(jax.vmap, in_axes=(None, 0))
    def one(params, key):
        return objective(ppca.model, params, EXAMPLE, key=key, **options)

    got = one(params, jax.random.split(jax.random.key(4), size))
    return jax.tree.map(np.float64, jax.device_get(got))


def test_one_sample_is_the_elbo_with_a_sampled_divergence():
    single = bounds(num_samples=1, size=50).bound
    elbos = bounds(elbo, kl=objectives.monte_carlo, size=50).bound
    np.testing.assert_allclose(single, elbos, atol=ROUNDING)


def test_the_bound_rises_with_samples_and_never_passes_the_evidence():
    narrow = PARAMS.inference._replace(log_scale=ppca.exact_params().inference.log_scale - 0.5)
    params = PARAMS._replace(inference=narrow)
    means, errors = [], []
    for number, size in ((1, 20_000), (5, 20_000), (50, 10_000), (500, 2000)):
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
        np.testing.assert_allclose(got, np.full(100, EVIDENCE), atol=ROUNDING)


def test_renyi_lies_between_the_elbo_and_iwae():
    options = {"num_samples": 10, "size": 2000}
    found = [bounds(renyi, alpha=alpha, **options) for alpha in (0.0, 0.3, 0.7, 0.999)]
    values = [estimate.bound for estimate in found]
    for larger, smaller in itertools.pairwise(values):
        assert np.all(larger >= smaller - 1e-4)
    np.testing.assert_allclose(values[0], bounds(iwae, **options).bound, atol=ROUNDING)
    np.testing.assert_allclose(values[3], found[0].parts["elbo"], atol=0.02)


ALPHAS = [0.0, 0.5, 0.9, 0.999, 1 - 1e-5, 1 - 1e-8, 1 - 1e-12]


CENTRES_AND_SPREADS = [(0.0, 1e-3), (0.0, 3.0), (-300.0, 30.0), (0.0, 1e3)]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_renyi_keeps_its_digits_up_to_the_elbo(alpha, dtype):
    with jax.enable_x64(dtype == "float64"):
        draw = np.random.default_rng(0).normal(size=50)
        log_w = np.asarray([c + spread * draw for c, spread in CENTRES_AND_SPREADS], dtype)

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

        values, gradients = jax.device_get(jax.jit(jax.vmap(jax.value_and_grad(estimate)))(log_w))
    for row, value, gradient, (_, spread) in zip(
        log_w, values, gradients, CENTRES_AND_SPREADS, strict=True
    ):
        with mpmath.workdps(60):
            order = 1 - mpmath.mpf(alpha)
            exact = [mpmath.mpf(float(value)) for value in row]
            terms = [mpmath.exp(order * (each - max(exact))) for each in exact]
            total = mpmath.fsum(terms)
            expected = float(max(exact) + mpmath.log(total / 50) / order)
            shares = [float(term / total) for term in terms]
        rounding = np.finfo(dtype).eps
        np.testing.assert_allclose(value, expected, atol=4 * rounding * np.max(np.abs(row)))
        # An exponent of a thousand nats is known to a thousand roundings.
        np.testing.assert_allclose(
            gradient, shares, rtol=8 * rounding * max(1.0, spread), atol=rounding
        )


def test_a_bound_is_minus_infinity_where_nothing_has_weight():
    @partial(jax.jit, static_argnums=1)
    def bound(log_w, alpha):
        return renyi(
            known_draws.MODEL,
            known_draws.PARAMS,
            known_draws.EXAMPLE,
            key=jax.random.key(0),
            num_samples=3,
            alpha=alpha,
            gradient=known_draws.weighing(log_w),
        ).bound

    for alpha in (0.0, 0.5):
        assert bound(np.full(3, -np.inf, np.float32), alpha) == -np.inf


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


# Of the two, alpha = 0 leaves a factor out.
every_alpha = pytest.mark.parametrize(
    "alpha", [0.6, pytest.param(0.0, marks=pytest.mark.exhaustive)]
)


@cache
def exact_of(bound, model):
    """``(params, alpha)`` to a bound and its gradient, one program for all estimators of it."""
    return jax.jit(jax.value_and_grad(partial(bound, model)), compiler_options=RUN_ONCE)


@every_alpha
@pytest.mark.parametrize(
    ("model", "options"),
    [pytest.param(mixed.discrete, DISCRETE[name], id=f"discrete {name}") for name in DISCRETE]
    + [
        pytest.param(
            mixed.mixed,
            options,
            id=f"mixed {name}",
            # VIMCO is the same with a baseline.
            marks=pytest.mark.exhaustive if name == "score and pathwise" else (),
        )
        for name, options in MIXED.items()
    ],
)
def test_gradients_and_bounds_of_two_weights_are_exact_in_the_mean(model, options, alpha):
    params = model.init(jax.random.key(0))
    got, gradient = mixed.estimates(renyi, model, params, num_samples=2, alpha=alpha, **options)
    value, expected = exact_of(mixed.exact_bound, model)(params, alpha)
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


def refused(objective, model, **options):
    """An objective that is only traced, as it is to be refused."""
    loss = partial(objective, model, model.init(None), mixed.EXAMPLE, **options)
    return jax.eval_shape(lambda key: loss(key=key), jax.random.key(0))


def nested(inner):
    score = objectives.score_function
    return by_factor(by_factor(score, inner), score)


def test_a_factor_of_a_factor_keeps_its_double_reparameterisation():
    def gradients(inner):
        _, gradient = mixed.estimates(
            iwae,
            NESTED,
            NESTED.init(None),
            40_000,
            num_samples=4,
            gradient=nested(inner),
            baseline=objectives.leave_one_out,
        )
        return gradient.inference

    path, double = gradients(objectives.pathwise), gradients(objectives.doubly_reparameterised)
    error = np.hypot(np.std(path, axis=0), np.std(double, axis=0)) / np.sqrt(40_000)
    assert np.all(np.abs(np.mean(path, axis=0) - np.mean(double, axis=0)) < 4 * error)


def test_paths_of_a_factor_and_of_its_factors_are_all_doubly_reparameterised_or_none():
    double, score = objectives.doubly_reparameterised, objectives.score_function
    q = NESTED.posterior(NESTED.init(None), mixed.X, None)
    bad = Product((q.factors[0], q.factors[0].factors[1]))
    estimator = by_factor(by_factor(score, objectives.pathwise), double)
    with pytest.raises(ValueError, match="for every factor that carries a gradient, or for none"):
        jax.eval_shape(
            lambda key: estimator(bad, key=key, num_samples=2, temperature=0.5), jax.random.key(0)
        )
    with pytest.raises(ValueError, match="use iwae"):
        refused(elbo, NESTED, kl=objectives.monte_carlo, gradient=nested(double))


# q(z) of one number: the mixed model with a single label.
LABEL = np.eye(3, dtype=np.float32)[0]
LINE = mixed.mixed._replace(
    posterior=lambda params, x, context: mixed.mixed.posterior(params, x, context).given(
        jnp.asarray(LABEL)
    ),
    prior=lambda params, context: mixed.mixed.prior(params, context).given(jnp.asarray(LABEL)),
    likelihood=lambda params, z, context: mixed.mixed.likelihood(
        params, (jnp.asarray(LABEL), z), context
    ),
)


def line(gradient, alpha):
    """Parameters, and estimates with their gradients."""
    params = LINE.init(jax.random.key(0))
    options = {"num_samples": 2, "gradient": gradient, "alpha": alpha}
    return params, mixed.estimates(renyi, LINE, params, 40_000, **options)


def line_bound(model, params, alpha, stopped=False):
    q = model.posterior(params, mixed.X, None)
    z = jax.vmap(q.transform)(mixed.NODES)
    density = jax.lax.stop_gradient(q) if stopped else q
    log_w = (1 - alpha) * mixed.log_weights(model, params, z, density)
    bound = (jnp.logaddexp(log_w[:, None], log_w[None, :]) - jnp.log(2.0)) / (1 - alpha)
    weight = mixed.LOG_WEIGHTS[:, None] + mixed.LOG_WEIGHTS[None, :]
    return jnp.sum(jnp.exp(weight) * bound)


@every_alpha
@pytest.mark.parametrize(
    "gradient",
    [objectives.pathwise, objectives.score_function, objectives.doubly_reparameterised],
)
def test_continuous_gradients_are_exact_in_the_mean(gradient, alpha):
    params, (got, gradients) = line(gradient, alpha)
    value, exact = exact_of(line_bound, LINE)(params, alpha)
    mixed.assert_unbiased(gradients, exact)
    mixed.assert_unbiased(got.bound, value)


def test_sticking_the_landing_has_the_bias_that_theory_predicts():
    params, (_, gradients) = line(objectives.sticking_the_landing, 0.0)
    _, predicted = exact_of(partial(line_bound, stopped=True), LINE)(params, 0.0)
    mixed.assert_unbiased(gradients, predicted)
    _, exact = exact_of(line_bound, LINE)(params, 0.0)
    error, standard_error = mixed.errors(gradients.inference, exact.inference)
    assert np.max(np.abs(error) / standard_error) > 10


@pytest.mark.parametrize(
    "numbers", [(32, 128), pytest.param((64, 256, 1024), marks=pytest.mark.exhaustive)]
)
def test_signal_to_noise_of_the_posterior_grows_with_samples_only_if_doubly_reparameterised(
    numbers,
):
    examples = ppca.examples(4)

    def ratio(gradient, number):
        loss = partial(iwae, ppca.model, num_samples=number, gradient=gradient)
        report = metrics.gradient_report(
            loss, PARAMS, examples, key=jax.random.key(1), num_keys=2000
        )
        return float(report["inference"].signal_to_noise)

    # Beyond a few samples each fourfold K halves the one and doubles the other.
    plain = [ratio(objectives.pathwise, number) for number in numbers]
    double = [ratio(objectives.doubly_reparameterised, number) for number in numbers]
    np.testing.assert_allclose(np.divide(plain[:-1], plain[1:]), 2.0, rtol=0.2)
    np.testing.assert_allclose(np.divide(double[1:], double[:-1]), 2.0, rtol=0.2)


def test_a_relaxed_bound_is_that_of_the_hard_events():
    params = mixed.discrete.init(jax.random.key(0))
    got, _ = mixed.estimates(
        iwae, mixed.discrete, params, num_samples=2, gradient=objectives.gumbel_softmax
    )
    value, _ = exact_of(mixed.exact_bound, mixed.discrete)(params, 0.0)
    mixed.assert_unbiased(got.bound, value)
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
        refused(iwae, model, num_samples=2, gradient=objectives.enumerated)


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
