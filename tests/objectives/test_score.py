"""Scores, enumeration and baselines against exact gradients, by sums over the events."""

from functools import partial

import jax
import jax.numpy as jnp
import mixed
import numpy as np
import ppca
import pytest

from jaxvae import nn, objectives
from jaxvae.distributions import Bernoulli, Normal
from jaxvae.model import LatentVariableModel, Params
from jaxvae.objectives import ElboSettings, elbo

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


@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("options", DISCRETE.values(), ids=DISCRETE)
def test_discrete_estimators_have_the_exact_gradient_and_the_plain_bound(options, beta):
    params = mixed.discrete.init(jax.random.key(0))
    settings = ElboSettings(beta=beta)
    got, gradient = mixed.estimates(elbo, mixed.discrete, params, settings=settings, **options)
    exact = mixed.exact_gradient(mixed.discrete, params, beta)
    mixed.assert_unbiased(gradient, exact)
    mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.discrete, params))
    mixed.assert_unbiased(got.surrogate, mixed.exact_elbo(mixed.discrete, params, beta))


def test_enumeration_has_no_variance():
    params = mixed.discrete.init(jax.random.key(0))
    _, gradient = mixed.estimates(
        elbo, mixed.discrete, params, 3, gradient=objectives.enumerated, num_samples=2
    )
    exact = mixed.exact_gradient(mixed.discrete, params)
    for g, e in zip(jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(g, np.broadcast_to(e, g.shape), rtol=1e-4, atol=1e-6)


def test_baselines_lower_the_variance_and_a_learnt_one_moves_by_its_own_misfit():
    model = with_network(mixed.discrete)
    params = model.init(jax.random.key(0))
    options = {"gradient": objectives.score_function, "kl": objectives.monte_carlo}
    plain, left_out, learnt = (
        mixed.estimates(elbo, model, params, num_samples=4, baseline=baseline, **options)[1]
        for baseline in (objectives.no_baseline, objectives.leave_one_out, LEARNT)
    )
    assert mixed.variance(left_out) < 0.5 * mixed.variance(plain)
    exact = mixed.exact_gradient(mixed.discrete, params)
    mixed.assert_unbiased(learnt._replace(auxiliary=None), exact._replace(auxiliary=None))

    def misfit(auxiliary):
        b = NETWORK.apply(auxiliary, mixed.X)
        events, log_probs = mixed.support(mixed.discrete, params)
        f = mixed.log_weights(mixed.discrete, params, events)
        return -0.5 * jnp.sum(jnp.exp(log_probs) * (f - b) ** 2)

    mixed.assert_unbiased(learnt.auxiliary, jax.jit(jax.grad(misfit))(params.auxiliary))
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
    assert mixed.variance(best) < 0.5 * mixed.variance(plain)


def test_with_a_baseline_the_model_keeps_its_parameters():
    plain, more = (m.init(jax.random.key(3)) for m in (ppca.model, with_network(ppca.model)))
    jax.tree.map(np.testing.assert_array_equal, plain, more._replace(auxiliary=None))


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

    by_hand_bound, by_hand_gradient = jax.jit(jax.value_and_grad(by_hand))(params)
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
    mixed.assert_unbiased(got.bound, by_hand_bound)


REFUSED = {
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
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_combinations_that_make_no_sense_are_refused(options, message):
    mixed.assert_refused(message, **options)


def test_too_many_events_are_refused():
    q = Bernoulli(jnp.zeros(17))
    with pytest.raises(ValueError, match=r"at most 65536 events, got 2\^17"):
        objectives.enumerated(q, key=jax.random.key(0), num_samples=1, temperature=0.5)
