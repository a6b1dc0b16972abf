"""Gradient estimators of the ELBO against exact gradients, by sums and quadrature."""

from functools import partial

import jax
import jax.numpy as jnp
import mixed
import numpy as np
import ppca
import pytest

from jaxvae import models, nn, objectives
from jaxvae.distributions import (
    Bernoulli,
    Categorical,
    Gamma,
    Independent,
    Normal,
    kl_divergence,
    sampling,
)
from jaxvae.model import Example, LatentVariableModel, Params
from jaxvae.objectives import ElboSettings, by_factor, elbo
from jaxvae.objectives.kl import Draw

NETWORK = nn.mlp((2,), (), hidden=(4,))
LEARNT = objectives.learnt_baseline(NETWORK)
with_network = partial(objectives.with_baseline, network=NETWORK)
DISCRETE = {
    "score": {"gradient": objectives.score_function, "kl": objectives.monte_carlo},
    "score, analytic": {"gradient": objectives.score_function, "kl": objectives.analytic},
    "score of five, leave one out": {
        "gradient": objectives.score_function,
        "baseline": objectives.leave_one_out,
        "kl": objectives.monte_carlo,
        "num_samples": 5,
    },
    "enumerated": {"gradient": objectives.enumerated, "kl": objectives.monte_carlo},
    "enumerated, analytic": {"gradient": objectives.enumerated, "kl": objectives.analytic},
}
SAMPLED = {"kl": objectives.monte_carlo}
MIXED = {
    "enumerated and pathwise": SAMPLED
    | {"gradient": by_factor(objectives.enumerated, objectives.pathwise)},
    "enumerated and landing, three": SAMPLED
    | {
        "gradient": by_factor(objectives.enumerated, objectives.sticking_the_landing),
        "num_samples": 3,
    },
    "enumerated and score, leave one out": SAMPLED
    | {
        "gradient": by_factor(objectives.enumerated, objectives.score_function),
        "baseline": objectives.leave_one_out,
        "num_samples": 4,
    },
    "score and pathwise": SAMPLED
    | {"gradient": by_factor(objectives.score_function, objectives.pathwise)},
    "score and pathwise, leave one out": SAMPLED
    | {
        "gradient": by_factor(objectives.score_function, objectives.pathwise),
        "baseline": objectives.leave_one_out,
        "num_samples": 4,
    },
    "score of all": SAMPLED | {"gradient": objectives.score_function},
    "score of each": SAMPLED
    | {"gradient": by_factor(objectives.score_function, objectives.score_function)},
}


@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("options", DISCRETE.values(), ids=DISCRETE)
def test_discrete_estimators_have_the_exact_gradient_and_the_plain_bound(options, beta):
    params = mixed.discrete.init(jax.random.key(0))
    settings = ElboSettings(beta=beta)
    got, gradient = mixed.estimates(elbo, mixed.discrete, params, settings=settings, **options)
    exact = jax.grad(partial(mixed.exact_elbo, mixed.discrete))(params, beta)
    mixed.assert_unbiased(gradient, exact)
    mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.discrete, params))
    mixed.assert_unbiased(got.surrogate, mixed.exact_elbo(mixed.discrete, params, beta))


@pytest.mark.parametrize("options", MIXED.values(), ids=MIXED)
def test_mixed_estimators_have_the_exact_gradient_and_the_plain_bound(options):
    params = mixed.mixed.init(jax.random.key(0))
    settings = ElboSettings(beta=1.5)
    got, gradient = mixed.estimates(elbo, mixed.mixed, params, settings=settings, **options)
    exact = jax.grad(partial(mixed.exact_elbo, mixed.mixed))(params, 1.5)
    mixed.assert_unbiased(gradient, exact)
    mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.mixed, params))


def test_enumeration_has_no_variance():
    params = mixed.discrete.init(jax.random.key(0))
    _, gradient = mixed.estimates(
        elbo, mixed.discrete, params, 3, gradient=objectives.enumerated, num_samples=2
    )
    exact = jax.grad(partial(mixed.exact_elbo, mixed.discrete))(params)
    for g, e in zip(jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(g, np.broadcast_to(e, g.shape), rtol=1e-4, atol=1e-6)


def variance(gradient):
    return sum(np.var(leaf, axis=0).sum() for leaf in jax.tree.leaves(gradient.inference))


def test_baselines_lower_the_variance_and_a_learnt_one_moves_by_its_own_misfit():
    model = with_network(mixed.discrete)
    params = model.init(jax.random.key(0))
    options = {"gradient": objectives.score_function, "kl": objectives.monte_carlo}
    plain, left_out, learnt = (
        mixed.estimates(elbo, model, params, num_samples=4, baseline=baseline, **options)[1]
        for baseline in (objectives.no_baseline, objectives.leave_one_out, LEARNT)
    )
    assert variance(left_out) < 0.5 * variance(plain)
    exact = jax.grad(partial(mixed.exact_elbo, mixed.discrete))(params)
    mixed.assert_unbiased(learnt._replace(auxiliary=None), exact._replace(auxiliary=None))

    def misfit(auxiliary):
        b = NETWORK.apply(auxiliary, mixed.X)
        events, log_probs = mixed.support(mixed.discrete, params)
        f = mixed.log_weights(mixed.discrete, params, events)
        return -0.5 * jnp.sum(jnp.exp(log_probs) * (f - b) ** 2)

    mixed.assert_unbiased(learnt.auxiliary, jax.grad(misfit)(params.auxiliary))
    # At the best constant the baseline is the bound, and its variance is below the plain one's.
    fitted = params._replace(
        auxiliary=jax.tree.map(jnp.zeros_like, params.auxiliary),
    )
    bias = jax.tree.leaves(fitted.auxiliary)
    smallest = min(range(len(bias)), key=lambda i: bias[i].size)
    leaves, structure = jax.tree.flatten(fitted.auxiliary)
    leaves[smallest] = jnp.full_like(leaves[smallest], mixed.exact_elbo(mixed.discrete, params))
    fitted = fitted._replace(auxiliary=jax.tree.unflatten(structure, leaves))
    np.testing.assert_allclose(
        NETWORK.apply(fitted.auxiliary, mixed.X), mixed.exact_elbo(mixed.discrete, params)
    )
    _, best = mixed.estimates(elbo, model, fitted, num_samples=4, baseline=LEARNT, **options)
    assert variance(best) < 0.5 * variance(plain)


def test_with_a_baseline_the_model_keeps_its_parameters():
    plain, more = (m.init(jax.random.key(3)) for m in (ppca.model, with_network(ppca.model)))
    jax.tree.map(np.testing.assert_array_equal, plain, more._replace(auxiliary=None))


@pytest.mark.parametrize("gradient", [objectives.pathwise, objectives.sticking_the_landing])
def test_landing_has_the_pathwise_gradient_and_no_variance_at_the_exact_posterior(gradient):
    params = ppca.exact_params()
    example = ppca.examples(1)
    example = jax.tree.map(lambda leaf: leaf[0], example)

    @jax.jit
    @jax.vmap
    @jax.grad
    def phi_gradient(phi, key):
        estimate = elbo(
            ppca.model,
            params._replace(inference=phi),
            example,
            key=key,
            kl=objectives.monte_carlo,
            gradient=gradient,
        )
        return estimate.surrogate

    keys = jax.random.split(jax.random.key(2), 2000)
    phi = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2000), params.inference)
    got = phi_gradient(phi, keys)
    spread = max(np.std(leaf, axis=0).max() for leaf in got)
    if gradient is objectives.sticking_the_landing:
        assert max(np.abs(leaf).max() for leaf in got) < 2e-5
    else:
        assert spread > 0.1
        for leaf in got:
            mixed.assert_unbiased(np.float64(leaf), np.zeros(leaf.shape[1:]))


@pytest.mark.parametrize("kl", [objectives.analytic, objectives.monte_carlo])
@pytest.mark.parametrize(
    "draw_noise", [sampling.antithetic_noise, sampling.sobol_noise], ids=["antithetic", "Sobol"]
)
def test_evenly_spread_noise_is_unbiased_and_less_noisy(draw_noise, kl):
    params, example = ppca.inexact_params(), ppca.examples(1)

    def gradients(gradient):
        loss = partial(elbo, ppca.model, kl=kl, num_samples=8, gradient=gradient)

        @jax.jit
        @jax.vmap
        def one(key):
            def surrogate(params):
                estimate = loss(params, jax.tree.map(lambda leaf: leaf[0], example), key=key)
                return estimate.surrogate, estimate.bound

            return jax.grad(surrogate, has_aux=True)(params)

        return jax.tree.map(np.float64, one(jax.random.split(jax.random.key(7), 10_000)))

    (plain, bounds), (spread, evener) = map(
        gradients, (objectives.pathwise, objectives.pathwise_from(draw_noise))
    )
    expected = jax.tree.map(lambda leaf: np.mean(leaf, axis=0), plain)
    _, first = mixed.errors(plain, expected)
    difference, second = mixed.errors(spread, expected)
    assert np.all(np.abs(difference) < 4.3 * np.hypot(first, second))
    assert abs(np.mean(bounds) - np.mean(evener)) < 0.02
    if draw_noise is sampling.antithetic_noise:
        # The gradient of the mean is linear in the noise here, and its mirror image cancels it.
        assert np.std(spread.inference.offset, axis=0).max() < 1e-5
    else:
        assert np.sum(second**2) < 0.7 * np.sum(first**2)


def test_evenly_spread_noise_needs_a_transformation():
    q = Gamma(jnp.zeros(2), jnp.zeros(2))
    with pytest.raises(ValueError, match="explicit transformation of noise, got Gamma"):
        objectives.pathwise_from(sampling.antithetic_noise)(
            q, key=jax.random.key(0), num_samples=2, temperature=0.5
        )


@pytest.mark.parametrize("draw_noise", [sampling.antithetic_noise, sampling.sobol_noise])
@pytest.mark.parametrize("label", [objectives.enumerated, objectives.score_function])
def test_one_draw_for_each_label_cannot_be_spread(label, draw_noise):
    gradient = by_factor(label, objectives.pathwise_from(draw_noise))
    with pytest.raises(ValueError, match=r"at least 2 draws .* component of a Joint"):
        elbo(
            mixed.mixed,
            mixed.mixed.init(None),
            mixed.EXAMPLE,
            key=jax.random.key(0),
            num_samples=8,
            kl=objectives.monte_carlo,
            gradient=gradient,
        )


def relaxed_gradient(gradient, temperature, **options):
    params = mixed.discrete.init(jax.random.key(0))
    settings = ElboSettings(temperature=temperature)
    options = {"gradient": gradient, "settings": settings} | options
    return mixed.estimates(elbo, mixed.discrete, params, **options)


@pytest.mark.parametrize("kl", [objectives.analytic, objectives.monte_carlo])
def test_the_bias_of_gumbel_softmax_falls_and_its_variance_grows_with_the_temperature(kl):
    params = mixed.discrete.init(jax.random.key(0))
    exact = jax.grad(partial(mixed.exact_elbo, mixed.discrete))(params)
    biases, variances = [], []
    for temperature in (2.0, 0.5, 0.1):
        got, gradient = relaxed_gradient(objectives.gumbel_softmax, temperature, kl=kl)
        error, _ = mixed.errors(gradient.inference, exact.inference)
        biases.append(np.linalg.norm(error))
        variances.append(variance(gradient))
        # The bound is that of the hard events, whatever the temperature.
        mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.discrete, params))
        assert abs(np.mean(got.surrogate) - np.mean(got.bound)) > 0.002
    assert biases[0] > biases[1] > biases[2]
    assert biases[2] < 0.4 * biases[0]
    assert variances[0] < variances[1] < variances[2]


@pytest.mark.parametrize(
    "gradient", [objectives.straight_through, objectives.straight_through_gumbel]
)
def test_straight_through_is_biased_and_its_samples_are_hard(gradient):
    params = mixed.discrete.init(jax.random.key(0))
    exact = jax.grad(partial(mixed.exact_elbo, mixed.discrete))(params)
    got, straight = relaxed_gradient(gradient, 0.5)
    np.testing.assert_allclose(got.surrogate, got.bound, rtol=1e-6)
    mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.discrete, params))
    error, standard_error = mixed.errors(straight.inference, exact.inference)
    assert np.max(np.abs(error) / standard_error) > 10


class Linear:
    """A score that is linear in the latent."""

    def __init__(self, value):
        self.value = value

    def log_prob(self, target):
        return self.value + 0.0 * jnp.sum(target)


def test_straight_through_is_unbiased_where_the_score_is_linear():
    slopes = jnp.array([0.3, -1.0, 2.0])
    model = mixed.discrete._replace(likelihood=lambda params, z, context: Linear(slopes @ z))
    params = mixed.discrete.init(jax.random.key(0))
    _, gradient = mixed.estimates(elbo, model, params, gradient=objectives.straight_through)
    exact = jax.grad(partial(mixed.exact_elbo, model))(params)
    mixed.assert_unbiased(gradient.inference, exact.inference)


def bits(params, x, context):
    return Bernoulli(params.inference * x[0])


BINARY = LatentVariableModel(
    init=lambda key: Params(jnp.array([[1.0, -0.5], [0.3, 0.9]]), jnp.array([0.5, -1.5])),
    prior=lambda params, context: Bernoulli(jnp.array([0.1, -0.2])),
    likelihood=lambda params, z, context: Normal(jnp.tanh(z @ params.generative), jnp.zeros(2)),
    posterior=bits,
)


def test_bernoulli_latents_are_enumerated_scored_and_relaxed():
    params = BINARY.init(None)
    _, exact = mixed.estimates(elbo, BINARY, params, 2, gradient=objectives.enumerated)

    def by_hand(params):
        total = 0.0
        for event in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
            z = jnp.array(event)
            log_q = bits(params, mixed.X, None).log_prob(z)
            likelihood = BINARY.likelihood(params, z, None).log_prob(mixed.X)
            prior = BINARY.prior(params, None).log_prob(z)
            total += jnp.exp(log_q) * (likelihood + prior - log_q)
        return total

    by_hand_gradient = jax.grad(by_hand)(params)
    for got, expected in zip(exact, by_hand_gradient, strict=True):
        if expected is not None:
            np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-6)
    _, score = mixed.estimates(
        elbo,
        BINARY,
        params,
        gradient=objectives.score_function,
        baseline=objectives.leave_one_out,
        num_samples=3,
    )
    mixed.assert_unbiased(score, by_hand_gradient)
    got, _ = mixed.estimates(elbo, BINARY, params, gradient=objectives.gumbel_softmax)
    mixed.assert_unbiased(got.bound, by_hand(params))


PAIR = LatentVariableModel(
    init=lambda key: Params(None, jnp.array([0.4, -0.3, 0.2])),
    prior=lambda params, context: Independent((Categorical(jnp.zeros(2)), Normal.standard((1,)))),
    likelihood=lambda params, z, context: Normal(
        jnp.tanh(z[0] + jnp.sin(z[1]) * jnp.array([1.0, -2.0])), jnp.zeros(2)
    ),
    posterior=lambda params, x, context: Independent(
        (
            Categorical(params.inference[:2] * x),
            Normal(params.inference[2:], jnp.array([-0.5])),
        )
    ),
)


def test_factors_of_an_independent_posterior_have_their_own_estimators():
    params = PAIR.init(None)

    def exact(params):
        q, total = PAIR.posterior(params, mixed.X, None), 0.0
        for label in jnp.eye(2):
            for node, log_weight in zip(mixed.NODES, mixed.LOG_WEIGHTS, strict=True):
                z = (label, q.factors[1].transform(node[None]))
                f = (
                    PAIR.likelihood(params, z, None).log_prob(mixed.X)
                    + PAIR.prior(params, None).log_prob(z)
                    - q.log_prob(z)
                )
                total += jnp.exp(q.factors[0].log_prob(label) + log_weight) * f
        return total

    expected = jax.jit(jax.grad(exact))(params)
    for first in (objectives.enumerated, objectives.score_function):
        for second in (objectives.pathwise, objectives.score_function):
            got, gradient = mixed.estimates(
                elbo,
                PAIR,
                params,
                kl=objectives.monte_carlo,
                gradient=by_factor(first, second),
                baseline=objectives.leave_one_out
                if objectives.score_function in (first, second)
                else objectives.no_baseline,
                num_samples=2,
            )
            mixed.assert_unbiased(gradient, expected, (first, second))
            mixed.assert_unbiased(got.bound, jax.jit(exact)(params))


def one(**options):
    model = options.pop("model", ppca.model)
    example = Example(jnp.zeros(5), jnp.zeros(5))
    return elbo(model, ppca.exact_params(), example, key=jax.random.key(0), **options)


def flow_model(strength):
    """The linear model with two autoregressive blocks, ``strength`` away from the identity."""
    family = models.inverse_autoregressive(2, hidden=(6,), context=0)

    def posterior(params, x, context):
        base = ppca.model.posterior(params, x, context)
        outputs = jnp.concatenate([base.loc, base.log_scale])
        return family.build(params.auxiliary, outputs, 2)

    weights = family.init(jax.random.key(5), 2)
    leaves, structure = jax.tree.flatten(weights)
    keys = jax.random.split(jax.random.key(6), len(leaves))
    moved = [
        leaf + strength * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    params = ppca.inexact_params()._replace(auxiliary=jax.tree.unflatten(structure, moved))
    return ppca.model._replace(posterior=posterior), params


def flow_estimates(strength, kl):
    model, params = flow_model(strength)
    example = jax.tree.map(lambda leaf: leaf[0], ppca.examples(1))

    @jax.jit
    @jax.vmap
    def one(key):
        def surrogate(params):
            estimate = elbo(model, params, example, key=key, kl=kl)
            return estimate.surrogate, estimate

        gradient, estimate = jax.grad(surrogate, has_aux=True)(params)
        return estimate, gradient

    return jax.tree.map(np.float64, one(jax.random.split(jax.random.key(8), 10_000)))


def test_the_closed_form_of_a_flows_base_takes_away_noise_and_no_more():
    plain, plain_gradient = flow_estimates(0.03, objectives.monte_carlo)
    based, based_gradient = flow_estimates(0.03, objectives.analytic_base)
    expected = jax.tree.map(lambda leaf: np.mean(leaf, axis=0), (plain.bound, plain_gradient))
    _, first = mixed.errors((plain.bound, plain_gradient), expected)
    difference, second = mixed.errors((based.bound, based_gradient), expected)
    assert np.all(np.abs(difference) < 4.3 * np.hypot(first, second))
    assert np.var(based.parts["kl"]) < 0.1 * np.var(plain.parts["kl"])


def test_at_the_identity_the_divergence_is_that_of_the_base():
    based, _ = flow_estimates(0.0, objectives.analytic_base)
    model, params = flow_model(0.0)
    example = jax.tree.map(lambda leaf: leaf[0], ppca.examples(1))
    base = model.posterior(params, example.inputs, None).base
    exact = kl_divergence(base, Normal.standard((2,)))
    np.testing.assert_allclose(based.parts["kl"], np.full(10_000, exact), rtol=1e-4)


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_every_draw_adds_what_the_flow_does_to_it_to_the_divergence_of_the_base(strength):
    model, params = flow_model(strength)
    q, p = model.posterior(params, ppca.examples(1).inputs[0], None), Normal.standard((2,))
    draws = objectives.pathwise(q, key=jax.random.key(9), num_samples=50)
    z, base = draws.z[:, 0], draws.base[:, 0]
    got = [
        objectives.analytic_base(q, p, Draw(*row))
        for row in zip(z, draws.log_q[:, 0], base, strict=True)
    ]
    image, log_det = jax.vmap(q.flow.forward)(base)
    np.testing.assert_allclose(z, image, rtol=1e-5, atol=1e-6)
    moved = 0.5 * np.sum(np.float64(z) ** 2 - np.float64(base) ** 2, axis=1) - log_det
    assert np.std(moved) > 0.1
    np.testing.assert_allclose(got, kl_divergence(q.base, p) + moved, rtol=1e-5, atol=1e-5)


REFUSED = {
    "only a flow has a base": (
        {"kl": objectives.analytic_base},
        "analytic_base expected a Transformed drawn by gradient=pathwise, got Normal",
    ),
    "a discrete law is not pathwise": (
        {"model": ppca.model._replace(posterior=lambda p, x, c: Bernoulli(jnp.zeros(2)))},
        "pathwise expected .* got Bernoulli.*score_function",
    ),
    "landing needs a sampled divergence": (
        {"gradient": objectives.sticking_the_landing},
        "sticking_the_landing expected a sampled KL, got kl=analytic",
    ),
    "double reparameterisation needs weights": (
        {"gradient": objectives.doubly_reparameterised, "kl": objectives.monte_carlo},
        "use iwae",
    ),
    "a baseline needs scores": (
        {"baseline": objectives.leave_one_out, "num_samples": 3},
        "a baseline expected gradient=score_function",
    ),
    "one draw has no others": (
        {"baseline": objectives.leave_one_out, "gradient": objectives.score_function},
        "num_samples of at least 2",
    ),
    "a learnt baseline needs parameters": (
        {"baseline": LEARNT, "gradient": objectives.score_function},
        r"Params.auxiliary, got None.*with_baseline",
    ),
    "a Normal cannot be enumerated": ({"gradient": objectives.enumerated}, "got Normal"),
    "a Normal cannot be relaxed": ({"gradient": objectives.gumbel_softmax}, "got Normal"),
    "free bits are not negative": (
        {"settings": ElboSettings(free_bits=-0.1)},
        "free_bits expected nats from 0 on, got -0.1",
    ),
    "a Normal has no factors": (
        {"gradient": by_factor(objectives.pathwise)},
        "by_factor expected an Independent or a Joint, got Normal",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_combinations_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        one(**options)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
@pytest.mark.parametrize(
    "gradient", [objectives.gumbel_softmax, objectives.straight_through_gumbel]
)
def test_a_temperature_is_positive(gradient, temperature):
    q = Bernoulli(jnp.zeros(2))
    with pytest.raises(ValueError, match="expected a positive temperature, got"):
        gradient(q, key=jax.random.key(0), num_samples=1, temperature=temperature)


def test_too_many_events_are_refused():
    q = Bernoulli(jnp.zeros(17))
    with pytest.raises(ValueError, match=r"at most 65536 events, got 2\^17"):
        objectives.enumerated(q, key=jax.random.key(0), num_samples=1, temperature=0.5)
