"""The latent ODE: a linear one has a closed-form evidence; nothing unobserved counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import metrics, models, nn, objectives, ode
from jaxvae.data.series import TimeSeries
from jaxvae.distributions import MultivariateNormal
from jaxvae.model import Example, log_weight
from jaxvae.models import Grid

TIMES = (0.0, 0.3, 0.7, 1.2, 2.0)
A = np.array([[-0.1, 1.0], [-1.0, -0.2]])
C = np.array([[1.0, 0.5], [-0.3, 0.8]])
NOISE = 0.4
EXACT = ode.adaptive(1e-6, 1e-8)


def observed_rows():
    """The matrix from z0 to all observed values, and which are observed."""
    mask = np.ones((len(TIMES), 2), bool)
    mask[1] = False
    mask[3, 0] = False
    flows = [C @ np.asarray(jax.scipy.linalg.expm(A * t)) for t in TIMES]
    return np.concatenate(flows), mask


def series(key):
    rows, mask = observed_rows()
    first, second = jax.random.split(key)
    means = rows @ jax.random.normal(first, (2,))
    values = (means + NOISE * jax.random.normal(second, means.shape)).reshape(mask.shape)
    return TimeSeries(jnp.array(TIMES), jnp.where(mask, values, jnp.nan), jnp.array(mask))


def exact_posterior(inputs):
    """Precision and mean of z0 given the observed values, and their evidence."""
    rows, mask = observed_rows()
    h, x = rows[mask.ravel()], np.asarray(inputs.values)[mask]
    precision = np.eye(2) + h.T @ h / NOISE**2
    mean = np.linalg.solve(precision, h.T @ x) / NOISE**2
    covariance = h @ h.T + NOISE**2 * np.eye(len(x))
    evidence = -0.5 * (
        x @ np.linalg.solve(covariance, x)
        + np.linalg.slogdet(covariance)[1]
        + len(x) * np.log(2 * np.pi)
    )
    return mean, np.linalg.cholesky(np.linalg.inv(precision)), evidence


def constant_encoder(outputs):
    return nn.Network(lambda key: None, lambda params, *inputs: jnp.asarray(outputs))


def exact_family(cholesky):
    def build(params, outputs, latent_dim):
        scale = np.diag(cholesky)
        return MultivariateNormal(outputs, jnp.log(scale), jnp.array([cholesky[1, 0]]))

    return models.PosteriorFamily(lambda d: d, lambda key, d: None, build)


def linear_model(encoder, *, common=False, noise=NOISE, **options):
    return models.latent_ode(
        encoder=encoder,
        dynamics=nn.affine(2),
        decoder=nn.affine(2),
        latent_dim=2,
        channels=2,
        integrator=EXACT,
        noise=noise,
        common_times=TIMES if common else None,
        **options,
    )


def true_parameters(model):
    params = model.init(jax.random.key(0))
    zero = jnp.zeros(2)
    learnt = params.generative | {
        "dynamics": {"A": jnp.array(A), "b": zero},
        "decoder": {"A": jnp.array(C), "b": zero},
    }
    return params._replace(generative=learnt)


@pytest.mark.parametrize("common", [False, True])
def test_with_the_exact_posterior_every_weight_is_the_evidence(common):
    inputs = series(jax.random.key(1))
    mean, cholesky, evidence = exact_posterior(inputs)
    model = linear_model(constant_encoder(mean), common=common, posterior=exact_family(cholesky))
    grid = Grid(None if common else inputs.times, inputs.mask)
    example = Example(inputs, inputs.values, grid)
    params = true_parameters(model)
    weights = jax.jit(jax.vmap(lambda key: log_weight(model, params, example, key=key)))(
        jax.random.split(jax.random.key(2), 20)
    )
    np.testing.assert_allclose(weights, evidence, rtol=2e-5)


def test_importance_weighting_approaches_the_evidence_from_below():
    inputs = series(jax.random.key(1))
    *_, evidence = exact_posterior(inputs)
    model = linear_model(constant_encoder(np.zeros(4)))
    params = true_parameters(model)
    example = Example(inputs, inputs.values, Grid(inputs.times, inputs.mask))

    def mean_bound(samples):
        keys = jax.random.split(jax.random.key(3), 400)
        loss = partial(objectives.iwae, model, params, example, num_samples=samples)
        bounds = jax.jit(jax.vmap(lambda key: loss(key=key).bound))(keys)
        return float(bounds.mean()), float(bounds.std() / 20)

    few, many = mean_bound(2), mean_bound(200)
    assert few[0] + 4 * few[1] < many[0]
    assert many[0] - 4 * many[1] < evidence
    assert many[0] == pytest.approx(evidence, abs=1.0)


def random_model(common=False):
    encoder = nn.recurrent_encoder(nn.recurrent(2, 5), 4)
    model = linear_model(encoder, common=common, noise=None)
    return model, true_parameters(model)


def bound(model, params, inputs, grid):
    example = Example(inputs, inputs.values, grid)
    return objectives.elbo(model, params, example, key=jax.random.key(4)).surrogate


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
    estimate = objectives.elbo(model, params, example, key=jax.random.key(4))
    assert float(estimate.bound) == pytest.approx(-float(estimate.parts["kl"]), rel=1e-6)


def test_common_times_give_the_bounds_of_own_times_in_any_order():
    own, params = random_model()
    shared, _ = random_model(common=True)
    many = jax.vmap(series)(jax.random.split(jax.random.key(5), 4))

    def bounds(model, times, rows):
        def one(row):
            return bound(model, params, row, Grid(row.times if times else None, row.mask))

        return jax.jit(jax.vmap(one, axis_name="examples"))(rows)

    alone, together = bounds(own, True, many), bounds(shared, False, many)
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    turned = bounds(shared, False, jax.tree.map(lambda x: x[::-1], many))
    np.testing.assert_array_equal(turned[::-1], together)


def test_predictions_go_forwards_and_backwards_from_the_start():
    model, params = random_model()
    z0 = jnp.array([0.3, -0.8])
    everything = jnp.ones((3, 2), bool)
    for times in ([0.5, 2.0, 4.0], [-0.5, -1.0, -3.0]):
        law = jax.jit(model.likelihood)(params, z0, Grid(jnp.array(times), everything))
        expected = [C @ jax.scipy.linalg.expm(A * t) @ z0 for t in times]
        np.testing.assert_allclose(law.mean, np.stack(expected), rtol=1e-4, atol=1e-5)


def straddling_model(start, **options):
    """The linear model whose state is that of another time than the first."""
    return linear_model(constant_encoder(np.zeros(4)), common=True, start=start, **options)


@pytest.mark.parametrize("start", [-0.4, 0.3, 0.9, 2.0, 2.5])
def test_common_times_on_both_sides_of_the_start_are_reached_from_it(start):
    model = straddling_model(start)
    params, z0 = true_parameters(model), jnp.array([0.3, -0.8])
    law = jax.jit(model.likelihood)(params, z0, Grid(None, jnp.ones((5, 2), bool)))
    expected = [C @ jax.scipy.linalg.expm(A * (t - start)) @ z0 for t in TIMES]
    np.testing.assert_allclose(law.mean, np.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", [0.0, 0.9, 2.5])
def test_a_rate_is_integrated_on_both_sides_of_the_start(start):
    rate = nn.Network(lambda key: None, lambda params, z: jnp.log(1.7) + 0 * z[:1])
    model = straddling_model(start, rate=rate)
    params = true_parameters(model)
    law = jax.jit(model.likelihood)(params, jnp.zeros(2), Grid(None, jnp.ones((5, 2), bool)))
    assert float(law.expected) == pytest.approx(1.7 * max(2.0, start), rel=1e-5)


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
            noise=NOISE,
            throw=False,
        )
        for name, how in (("short", short), ("whole", EXACT))
    }
    params = true_parameters(models_of["short"])
    z0 = jnp.array([1.0, -0.5])
    grid = Grid(inputs.times, inputs.mask)
    law = jax.jit(models_of["short"].likelihood)(params, z0, grid)
    reached = np.asarray(law.mask).any(1)
    assert reached[0]
    assert not reached[-1]
    cut = grid._replace(mask=law.mask)
    whole = jax.jit(models_of["whole"].likelihood)(params, z0, cut)
    np.testing.assert_allclose(
        law.log_prob(inputs.values), whole.log_prob(inputs.values), rtol=1e-4
    )


def test_importance_samples_of_a_batch_use_the_context_of_each_series():
    model = linear_model(constant_encoder(np.zeros(4)), noise=None)
    params = true_parameters(model)
    many = jax.vmap(series)(jax.random.split(jax.random.key(5), 3))
    examples = Example(many, many.values, Grid(many.times, many.mask))
    found = metrics.importance_log_likelihood(
        model, params, examples, key=jax.random.key(6), num_samples=20_000
    )
    log_noise = params.generative["log_noise"]
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
        (lambda: linear_model(constant_encoder(np.zeros(4)), noise=0.0), "positive noise"),
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
    with pytest.raises(ValueError, match="encoder of latent_ode"):
        model.posterior(params, inputs, None)
    with pytest.raises(ValueError, match=r"give Grid\.times, or common_times"):
        model.likelihood(params, jnp.zeros(2), Grid(None, inputs.mask))


def test_times_of_a_constant_rate_have_the_density_of_a_poisson_process():
    """p(t) = exp(-rate T) rate^N for N rows with an observation within the time T."""
    rate = 1.7
    inputs = series(jax.random.key(1))
    options = {
        "encoder": constant_encoder(np.zeros(4)),
        "dynamics": nn.affine(2),
        "decoder": nn.affine(2),
        "latent_dim": 2,
        "channels": 2,
        "integrator": EXACT,
        "noise": NOISE,
    }
    plain = models.latent_ode(**options)
    timed = models.latent_ode(
        **options, rate=nn.Network(lambda key: None, lambda params, z: jnp.log(rate) + 0 * z[:1])
    )
    params = true_parameters(plain)
    both = params._replace(generative=params.generative | {"rate": None})
    z0, grid = jnp.array([0.4, -0.2]), Grid(inputs.times, inputs.mask)
    laws = jax.jit(plain.likelihood)(params, z0, grid), jax.jit(timed.likelihood)(both, z0, grid)
    values, with_times = (float(law.log_prob(inputs.values)) for law in laws)
    observed = int(inputs.mask.any(1).sum())
    expected = observed * np.log(rate) - rate * TIMES[-1]
    assert with_times - values == pytest.approx(expected, rel=1e-5)


def test_a_rate_that_grows_with_the_state_is_integrated():
    """For exp(z) with z' = 1 the integral from 0 to T is exp(T) - 1."""
    ramp = nn.Network(lambda key: None, lambda params, z: jnp.ones_like(z))
    model = models.latent_ode(
        encoder=constant_encoder(np.zeros(2)),
        dynamics=ramp,
        decoder=nn.affine(1),
        latent_dim=1,
        channels=1,
        integrator=EXACT,
        noise=1.0,
        rate=nn.Network(lambda key: None, lambda params, z: z),
    )
    params = model.init(jax.random.key(0))
    grid = Grid(jnp.array([1.0, 2.0, 2.0]), jnp.array([[True], [True], [False]]))
    law = jax.jit(model.likelihood)(params, jnp.zeros(1), grid)
    assert float(law.expected) == pytest.approx(np.expm1(2.0), rel=1e-5)
    np.testing.assert_allclose(law.log_rates[:2], [1.0, 2.0], rtol=1e-5)
    np.testing.assert_array_equal(law.counted, [True, True, False])
