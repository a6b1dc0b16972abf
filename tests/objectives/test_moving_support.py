"""A score has mean zero where the support stays as it is, and nowhere else."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import mixed
import numpy as np
import pytest
from samplers import RUN_ONCE

from jaxvae import objectives
from jaxvae.distributions import Delta, Normal, Pareto, Product, TruncatedNormal, Uniform
from jaxvae.model import LatentVariableModel, Params
from jaxvae.objectives import elbo, iwae

USE_THE_SCORE = [
    objectives.score_function,
    objectives.sticking_the_landing,
    objectives.doubly_reparameterised,
]
START = jnp.array([0.3, 0.2])
ZERO, ONE, MINUS_ONE = jnp.zeros(1), jnp.ones(1), -jnp.ones(1)


@cache
def model_of(posterior):
    """q(z) of one number with two parameters."""
    return LatentVariableModel(
        init=lambda key: Params(None, START),
        prior=lambda params, context: Normal(ZERO, ZERO),
        likelihood=lambda params, z, context: Normal(jnp.broadcast_to(z, (2,)), jnp.zeros(2)),
        posterior=lambda params, inputs, context: posterior(
            params.inference[:1], params.inference[1:]
        ),
    )


def truncated(loc, log_scale):
    return TruncatedNormal(loc, log_scale, MINUS_ONE, ONE)


MOVING = {
    "both ends": (Uniform, "Uniform.low, Uniform.log_width"),
    "one end": (lambda low, _: Uniform(low, ZERO), "Uniform.low"),
    "an infinite tail": (Pareto, "Pareto.log_scale"),
    "bounds": (
        lambda low, log_scale: TruncatedNormal(ZERO, log_scale, low - 1.0, ONE),
        "TruncatedNormal.low",
    ),
    "a point": (lambda point, _: Delta(point), "Delta"),
}


@pytest.mark.parametrize("gradient", USE_THE_SCORE)
@pytest.mark.parametrize(("posterior", "names"), MOVING.values(), ids=MOVING)
def test_estimators_that_use_the_score_refuse_a_support_that_moves(posterior, names, gradient):
    model = model_of(posterior)

    def surrogate(params, objective, key):
        options = {"key": key, "num_samples": 2, "gradient": gradient}
        return objective(model, params, mixed.EXAMPLE, **options).surrogate

    for objective in (partial(elbo, kl=objectives.monte_carlo), iwae):
        slope = partial(jax.grad(surrogate), Params(None, START), objective)
        with pytest.raises(ValueError, match=rf"{names}.*use gradient=pathwise, or keep"):
            jax.eval_shape(slope, jax.random.key(0))


def test_a_factor_whose_support_moves_is_refused_too():
    q = objectives.by_factor(objectives.pathwise, objectives.score_function)

    def draw(low):
        pair = Product((Normal(low, ZERO), Uniform(low, ZERO)))
        return jnp.sum(q(pair, key=jax.random.key(0), num_samples=1, temperature=0.5).log_q)

    with pytest.raises(ValueError, match=r"score_function expected .* Uniform.low"):
        jax.eval_shape(jax.grad(draw), ZERO)


def exact(posterior, phi, nodes=400):
    """The bound by quadrature over uniform noise."""
    model, params = model_of(posterior), Params(None, phi)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    q = posterior(phi[:1], phi[1:])
    z = jax.vmap(q.transform)(jnp.asarray(0.5 * (points + 1.0), jnp.float32)[:, None])
    f = mixed.log_weights(model, params, z)
    return jnp.sum(jnp.asarray(0.5 * weights, jnp.float32) * f)


@cache
def exact_of(posterior):
    return jax.jit(jax.value_and_grad(partial(exact, posterior)), compiler_options=RUN_ONCE)


def check_unbiased(posterior, gradient):
    got, gradients = mixed.estimates(
        elbo,
        model_of(posterior),
        Params(None, START),
        kl=objectives.monte_carlo,
        gradient=gradient,
    )
    bound, gradient = exact_of(posterior)(START)
    mixed.assert_unbiased(gradients.inference, gradient)
    mixed.assert_unbiased(got.bound, bound)


def test_the_pathwise_gradient_of_a_moving_support_is_exact_in_the_mean():
    check_unbiased(Uniform, objectives.pathwise)


@pytest.mark.parametrize("gradient", [objectives.pathwise, *USE_THE_SCORE[:2]])
def test_constant_bounds_are_no_hindrance(gradient):
    check_unbiased(truncated, gradient)
