import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import distributions, models, nn, ode, recipe

RECIPE = partial(
    models.vae,
    encoder=partial(nn.mlp, (4, 3), (4,), hidden=(5, 6)),
    decoder=partial(nn.mlp, (2,), (4, 3), hidden=(6,)),
    latent_dim=2,
    likelihood=distributions.Bernoulli,
)


def bound(built):
    params = built.init(jax.random.key(0))
    z = jnp.array([0.3, -0.4])
    return built.likelihood(params, z, None).log_prob(jnp.ones((4, 3)))


def test_a_recipe_survives_json_and_builds_the_same_model():
    text = json.dumps(recipe.to_json(RECIPE))
    again = recipe.build(recipe.from_json(json.loads(text)))
    np.testing.assert_array_equal(bound(again), bound(recipe.build(RECIPE)))


def test_solvers_that_are_exported_from_elsewhere_have_a_name():
    integrator = partial(
        ode.adaptive,
        1e-3,
        1e-5,
        solver=partial(ode.Dopri5),
        adjoint=partial(ode.Backsolve, seminorm=True),
    )
    saved = json.loads(json.dumps(recipe.to_json(integrator)))
    assert saved["keywords"]["solver"]["factory"] == "jaxvae.ode.Dopri5"
    again = recipe.build(recipe.from_json(saved))
    assert again == ode.adaptive(
        1e-3, 1e-5, solver=ode.Dopri5(), adjoint=ode.Backsolve(seminorm=True)
    )


def test_only_exported_functions_have_a_name_that_can_be_saved():
    with pytest.raises(ValueError, match="functions that jaxvae exports"):
        recipe.to_json(partial(nn.mlp, (2,), (2,), activation=jnp.tanh))
    with pytest.raises(ValueError, match="got ndarray"):
        recipe.to_json(partial(nn.mlp, np.zeros(2)))


@pytest.mark.parametrize("name", ["os.system", "jaxvae.nn.no_such", "jaxvae_evil.run", "system"])
def test_a_saved_recipe_cannot_name_anything_outside_jaxvae(name):
    with pytest.raises(ValueError, match="a function that jaxvae exports"):
        recipe.from_json({"factory": name, "arguments": ["true"], "keywords": {}})
