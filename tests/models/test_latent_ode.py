"""The latent ODE: a linear one has a closed-form evidence; nothing unobserved counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_latent_ode import (
    EXACT,
    NOISE,
    TIMES,
    bound,
    constant_encoder,
    exact_family,
    exact_posterior,
    linear_model,
    observed_rows,
    random_model,
    series,
    true_parameters,
)

from jaxvae import map_examples, metrics, models, nn, objectives, ode
from jaxvae.model import Example, log_weight
from jaxvae.series import Grid, TimeSeries

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.parametrize("common", [False, True])
def test_with_the_exact_posterior_every_weight_is_the_evidence(common):
    inputs = series(jax.random.key(1))
    mean, cholesky, evidence = exact_posterior(inputs)
    model = linear_model(constant_encoder(mean), common=common, posterior=exact_family(cholesky))
    grid = Grid(None if common else inputs.times, inputs.mask)
    example = Example(inputs, inputs.values, grid)
    params = true_parameters(model)
    weight = partial(map_examples, lambda key: log_weight(model, params, example, key=key))
    weights = jax.jit(weight)(jax.random.split(jax.random.key(2), 20))
    np.testing.assert_allclose(weights, evidence, rtol=2e-5)


def test_importance_weighting_approaches_the_evidence_from_below():
    inputs = series(jax.random.key(1))
    *_, evidence = exact_posterior(inputs)
    model = linear_model(constant_encoder(np.zeros(4)))
    params = true_parameters(model)
    example = Example(inputs, inputs.values, Grid(inputs.times, inputs.mask))

    weight = partial(map_examples, lambda key: log_weight(model, params, example, key=key))
    weights = np.float64(jax.jit(weight)(jax.random.split(jax.random.key(3), 100 * 200)))

    def mean_bound(samples):
        groups = weights.reshape(100, -1, samples)
        bounds = np.mean(np.logaddexp.reduce(groups, axis=2) - np.log(samples), axis=1)
        return bounds.mean(), bounds.std() / 10

    few, many = mean_bound(2), mean_bound(200)
    assert few[0] + 4 * few[1] < many[0]
    assert many[0] - 4 * many[1] < evidence
    assert many[0] == pytest.approx(evidence, abs=1.0)


def test_padding_changes_neither_the_bound_nor_its_gradient():
    model, params = random_model()
    inputs = series(jax.random.key(1))
    padded = TimeSeries(
        jnp.append(inputs.times, jnp.full(3, TIMES[-1])),
        jnp.concatenate([inputs.values, jnp.full((3, 2), jnp.nan)]),
        jnp.concatenate([inputs.mask, jnp.zeros((3, 2), bool)]),
    )
    run = jax.jit(jax.value_and_grad(lambda p, x: bound(model, p, x, Grid(x.times, x.mask))))
    value, gradient = run(params, inputs)
    same, same_gradient = run(params, padded)
    np.testing.assert_allclose(same, value, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        same_gradient,
        gradient,
    )


def test_where_nothing_is_observed_only_the_divergence_counts():
    model, params = random_model()
    inputs = series(jax.random.key(1))
    blank = inputs._replace(mask=jnp.zeros_like(inputs.mask))
    grid = Grid(blank.times, blank.mask)
    example = Example(blank, blank.values, grid)
    elbo = jax.jit(lambda key: objectives.elbo(model, params, example, key=key))
    estimate = elbo(jax.random.key(4))
    assert float(estimate.bound) == pytest.approx(-float(estimate.parts["kl"]), rel=1e-6)


def test_rows_that_a_failed_solve_did_not_reach_are_left_out():
    short = ode.adaptive(1e-6, 1e-8, max_steps=6)
    encoder = constant_encoder(np.zeros(4))
    inputs = series(jax.random.key(1))
    models_of = {
        name: models.latent_ode(
            encoder=encoder,
            dynamics=nn.affine(2),
            decoder=nn.affine(2),
            latent_dim=2,
            channels=2,
            integrator=how,
            likelihood=models.normal(NOISE),
            throw=False,
        )
        for name, how in (("short", short), ("whole", EXACT))
    }
    params = true_parameters(models_of["short"])
    z0 = jnp.array([1.0, -0.5])
    grid = Grid(inputs.times, inputs.mask)
    likelihood = jax.jit(models_of["short"].likelihood)(params, z0, grid)
    reached = np.asarray(likelihood.mask).any(1)
    assert reached[0]
    assert not reached[-1]
    cut = grid._replace(mask=likelihood.mask)
    whole = jax.jit(models_of["whole"].likelihood)(params, z0, cut)
    np.testing.assert_allclose(
        likelihood.log_prob(inputs.values), whole.log_prob(inputs.values), rtol=1e-4
    )


def test_importance_samples_of_a_batch_use_the_context_of_each_series():
    model = linear_model(constant_encoder(np.zeros(4)), noise=None)
    params = true_parameters(model)
    many = jax.vmap(series)(jax.random.split(jax.random.key(5), 3))
    examples = Example(many, many.values, Grid(many.times, many.mask))
    found = metrics.importance_log_likelihood(
        model, params, examples, key=jax.random.key(6), num_samples=20_000
    )
    log_noise = params.generative["likelihood"]["log_scale"]
    assert log_noise.shape == (2,)
    rows, mask = observed_rows()
    for index in range(3):
        x = np.asarray(many.values[index])[mask]
        h = rows[mask.ravel()]
        covariance = h @ h.T + np.eye(len(x))
        evidence = -0.5 * (
            x @ np.linalg.solve(covariance, x)
            + np.linalg.slogdet(covariance)[1]
            + len(x) * np.log(2 * np.pi)
        )
        assert float(found.log_likelihood[index]) == pytest.approx(evidence, abs=0.2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: linear_model(constant_encoder(np.zeros(4)), noise=0.0), "positive scale"),
        (
            lambda: models.latent_ode(
                encoder=constant_encoder(np.zeros(4)),
                dynamics=nn.affine(2),
                decoder=nn.affine(2),
                latent_dim=0,
                channels=2,
            ),
            "positive integer",
        ),
    ],
)
def test_sizes_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_misuse_is_explained():
    inputs = series(jax.random.key(1))
    model = linear_model(constant_encoder(np.zeros(3)))
    params = true_parameters(model)
    with pytest.raises(ValueError, match="latent_ode expected an encoder with 4 outputs"):
        model.posterior(params, inputs, None)
    with pytest.raises(ValueError, match=r"give Grid\.times, or common_times"):
        model.likelihood(params, jnp.zeros(2), Grid(None, inputs.mask))
