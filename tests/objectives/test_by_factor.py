"""Estimators for each factor of a posterior, against exact gradients by sums and quadrature."""

from functools import partial

import jax
import jax.numpy as jnp
import mixed
import pytest

from jaxvae import objectives
from jaxvae.distributions import Categorical, Normal, Product, sampling
from jaxvae.model import LatentVariableModel, Params
from jaxvae.objectives import ElboSettings, by_factor, elbo

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


# Without a baseline the estimates are only noisier; and one score function serves all factors.
RARELY = {"score and pathwise", "score of all"}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=pytest.mark.exhaustive if name in RARELY else ())
        for name, options in MIXED.items()
    ],
)
def test_mixed_estimators_have_the_exact_gradient_and_the_plain_bound(options):
    params = mixed.mixed.init(jax.random.key(0))
    settings = ElboSettings(beta=1.5)
    got, gradient = mixed.estimates(elbo, mixed.mixed, params, settings=settings, **options)
    exact = mixed.exact_gradient(mixed.mixed, params, 1.5)
    mixed.assert_unbiased(gradient, exact)
    mixed.assert_unbiased(got.bound, mixed.exact_elbo(mixed.mixed, params))


PAIR = LatentVariableModel(
    init=lambda key: Params(None, jnp.array([0.4, -0.3, 0.2])),
    prior=lambda params, context: Product((Categorical(jnp.zeros(2)), Normal.standard((1,)))),
    likelihood=lambda params, z, context: Normal(
        jnp.tanh(z[0] + jnp.sin(z[1]) * jnp.array([1.0, -2.0])), jnp.zeros(2)
    ),
    posterior=lambda params, x, context: Product(
        (
            Categorical(params.inference[:2] * x),
            Normal(params.inference[2:], jnp.array([-0.5])),
        )
    ),
)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (objectives.enumerated, objectives.pathwise),
        (objectives.score_function, objectives.score_function),
        *[
            pytest.param(*pair, marks=pytest.mark.exhaustive)
            for pair in (
                (objectives.enumerated, objectives.score_function),
                (objectives.score_function, objectives.pathwise),
            )
        ],
    ],
)
def test_factors_of_an_independent_posterior_have_their_own_estimators(first, second):
    params = PAIR.init(None)

    def exact(params):
        q = PAIR.posterior(params, mixed.X, None)

        def term(label, node, log_weight):
            z = (label, q.factors[1].transform(node[None]))
            f = (
                PAIR.likelihood(params, z, None).log_prob(mixed.X)
                + PAIR.prior(params, None).log_prob(z)
                - q.log_prob(z)
            )
            return jnp.exp(q.factors[0].log_prob(label) + log_weight) * f

        of_label = jax.vmap(term, (None, 0, 0))
        terms = jax.vmap(of_label, (0, None, None))(jnp.eye(2), mixed.NODES, mixed.LOG_WEIGHTS)
        return jnp.sum(terms)

    bound, expected = jax.jit(jax.value_and_grad(exact))(params)
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
    mixed.assert_unbiased(gradient, expected)
    mixed.assert_unbiased(got.bound, bound)


@pytest.mark.parametrize("draw_noise", [sampling.antithetic_noise, sampling.sobol_noise])
@pytest.mark.parametrize("label", [objectives.enumerated, objectives.score_function])
def test_one_draw_for_each_label_cannot_be_spread(label, draw_noise):
    gradient = by_factor(label, objectives.pathwise_from(draw_noise))
    options = {"num_samples": 8, "kl": objectives.monte_carlo, "gradient": gradient}
    loss = partial(elbo, mixed.mixed, mixed.mixed.init(None), mixed.EXAMPLE, **options)
    with pytest.raises(ValueError, match=r"at least 2 draws .* component of a Joint"):
        jax.eval_shape(lambda key: loss(key=key), jax.random.key(0))


def test_a_normal_has_no_factors():
    mixed.assert_refused(
        "by_factor expected a Product or a Joint, got Normal",
        gradient=by_factor(objectives.pathwise),
    )
