import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spiral_windows import FIXED, SMALL, windows

import jaxvae
from experiments.latent_ode import ode_forecaster
from experiments.latent_ode.experiment import FORECASTERS
from experiments.latent_ode.forecaster import BEYOND, SPACING, WINDOW, times_of
from experiments.latent_ode.recurrent_forecaster import rows_until
from jaxvae import data
from jaxvae.distributions import Normal

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture
def fixed_steps(monkeypatch):
    monkeypatch.setattr(ode_forecaster, "INTEGRATOR", FIXED)


def mean_forecast(forecaster):
    one = jax.jit(lambda params, series: forecaster.forecast(params, series, None).mean)
    return lambda params, series: one(params, jax.tree.map(lambda x: x[None], series))[0]


def test_the_true_flow_is_forecast_by_the_latent_ode_wherever_it_starts():
    """A latent circle, decoded as it is: each mean is the turned state of the middle."""
    setting = dataclasses.replace(SMALL, dynamics=(), decoder=(), samples=0)
    forecaster = FORECASTERS["latent_ode"](setting)
    params = forecaster.init(jax.random.key(0))
    turn = np.zeros((3, 3), np.float32)
    turn[0, 1], turn[1, 0] = 1.0, -1.0
    wanted = {(3, 3): turn, (3, 2): np.eye(3, 2, dtype=np.float32)}
    learnt = {
        name: jax.tree.map(
            lambda x: jnp.asarray(wanted.get(x.shape, np.zeros(x.shape)), x.dtype), own
        )
        for name, own in params.generative.items()
    }
    params = params._replace(generative=learnt)
    series = jax.tree.map(lambda x: x[0, 0], windows()[1].observed)
    means = np.asarray(mean_forecast(forecaster)(params, series)) / SMALL.scale
    states = np.asarray(jax.jit(forecaster.states)(params, series))
    angle = (np.arange(2 * BEYOND + WINDOW) - BEYOND - WINDOW // 2) * SPACING
    x, y = means[BEYOND + WINDOW // 2]
    expected = np.stack(
        [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1
    )
    # The solver's relative tolerance is 1e-3 a step.
    np.testing.assert_allclose(means, expected, atol=0.02 * np.hypot(x, y))
    np.testing.assert_allclose(states[:, :2], means, atol=0.02 * np.hypot(x, y))


def test_a_sleep_phase_sample_is_a_window_of_a_series_that_the_model_draws():
    own = FORECASTERS["latent_ode"](SMALL).loss.__self__
    means = jnp.arange(2.0 * (2 * WINDOW - 1)).reshape(-1, 2)
    drawn_from = Normal(means, jnp.full_like(means, -20.0))
    sample = jax.jit(lambda key: own._sleep_sample(drawn_from, 12, jnp.array(30), key))(
        jax.random.key(4)
    )
    places = np.asarray(sample.times) / SPACING
    np.testing.assert_allclose(places, np.rint(places), atol=1e-4)
    places = np.rint(places).astype(int)
    assert len(np.unique(places)) == 12
    assert (places >= 0).all()
    assert (places < WINDOW).all()
    # The start is the grid's point WINDOW - 1, and the window's point 30.
    np.testing.assert_allclose(sample.values, means[places + WINDOW - 1 - 30], atol=1e-5)


def estimate(forecaster, params, series, seed):
    """The loss of one series, in a batch of its own."""

    def one(series):
        example = jaxvae.Example(inputs=series, target=None)
        return forecaster.loss(params, example, key=jax.random.key(2), settings=seed)

    batch = jax.tree.map(lambda x: x[None], series)
    return jax.tree.map(lambda x: x[0], jaxvae.map_examples(one, batch))


def surrogates(weight):
    """The estimate of one series, and the gradients of its surrogate."""
    forecaster = FORECASTERS["latent_ode"](dataclasses.replace(SMALL, sleep=weight))
    series = jax.tree.map(lambda x: x[0], windows()[0].observed)

    def loss(params):
        found = estimate(forecaster, params, series, 0)
        return found.surrogate, found

    params = forecaster.init(jax.random.key(0))
    gradient, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    return found, gradient


@pytest.mark.usefixtures("fixed_steps")
def test_the_sleep_phase_adds_the_log_density_of_the_latent_state(monkeypatch):
    """With q a standard Normal for every series."""
    own = type(FORECASTERS["latent_ode"](SMALL).loss.__self__)
    standard = Normal.standard((3,))
    monkeypatch.setattr(own, "_encoded", lambda self, params, series, start: standard)
    found, _ = surrogates(0.5)
    _, latent_key, _ = jax.random.split(jax.random.key(2), 3)
    expected = 0.5 * standard.log_prob(standard.sample(latent_key))
    np.testing.assert_allclose(found.surrogate - found.bound, expected, rtol=1e-3)


@pytest.mark.usefixtures("fixed_steps")
def test_the_sleep_phase_changes_the_surrogate_alone_and_teaches_the_encoder_alone():
    (none, awake), (some, both) = map(surrogates, (0.0, 0.6))
    np.testing.assert_allclose(some.bound, none.bound, rtol=1e-5)
    assert none.surrogate == none.bound
    assert abs(float(some.surrogate - some.bound)) > 1e-2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        awake.generative,
        both.generative,
    )
    encoders = (jax.tree.leaves(each.inference.encoder) for each in (awake, both))
    assert max(float(np.abs(a - b).max()) for a, b in zip(*encoders, strict=True)) > 1e-2


def test_rows_without_times_are_taken_to_be_where_they_are_on_average():
    places = rows_until(30)
    drawn = data.spirals(5000, points=30, key=jax.random.key(0)).observed.times
    indices = np.asarray(drawn, float) / SPACING
    gap = np.mean(np.diff(indices, axis=1))
    np.testing.assert_allclose(np.diff(places), 1 / gap, rtol=5e-3)
    last = np.mean(indices[:, -1])
    np.testing.assert_allclose(places * gap, WINDOW - last + np.arange(BEYOND), rtol=0.02, atol=0.1)
    np.testing.assert_array_equal(rows_until(WINDOW), 1.0 + np.arange(BEYOND))


def test_a_recurrent_network_reads_backwards_what_lies_before():
    """Turned in time, the problem has the two networks swapped."""
    forecaster = FORECASTERS["rnn_with_gaps"](SMALL)
    params = forecaster.init(jax.random.key(0))
    times = times_of(0, WINDOW)
    values = jax.random.normal(jax.random.key(1), (WINDOW, 2))
    series = jaxvae.TimeSeries(times, values, jnp.ones((WINDOW, 2), bool))
    turned = jaxvae.TimeSeries(times, values[::-1], series.mask)
    swapped = {"forward": params["backward"], "backward": params["forward"]}
    forecast = mean_forecast(forecaster)
    np.testing.assert_allclose(
        forecast(params, series), forecast(swapped, turned)[::-1], rtol=1e-4, atol=1e-5
    )


@pytest.mark.usefixtures("fixed_steps")
@pytest.mark.parametrize("name", FORECASTERS)
def test_the_bound_is_one_of_the_values_as_they_are(name):
    """Values, noise and outputs times a scale: the density is divided by it for each value."""
    series = jax.tree.map(lambda x: x[0], windows()[0].observed)
    scaled = series._replace(values=3.0 * series.values)

    @jax.jit
    def bound(scale, inputs):
        forecaster = FORECASTERS[name](dataclasses.replace(SMALL, scale=scale))
        params = forecaster.init(jax.random.key(0))
        return estimate(forecaster, params, inputs, 1).bound

    bounds = bound(4.0, series), bound(12.0, scaled)
    assert float(bounds[1]) == pytest.approx(float(bounds[0]) - 80 * np.log(3.0), rel=1e-4)


@pytest.mark.usefixtures("fixed_steps")
def test_many_weighted_samples_come_nearer_to_an_observed_series_than_the_mean_of_q():
    """Untrained, q is too wide and in the wrong place."""
    series = jax.tree.map(lambda x: x[:1, 0], windows()[1].observed)
    residuals = []
    for samples in (0, 2000):
        setting = dataclasses.replace(SMALL, samples=samples)
        forecaster = FORECASTERS["latent_ode"](setting)
        params = forecaster.init(jax.random.key(0))
        found = jax.jit(forecaster.forecast)(params, series, jax.random.key(1))
        at = np.rint(np.asarray(series.times[0]) / SPACING).astype(int) + BEYOND
        residuals.append(np.mean((np.asarray(found.mean[0])[at] - series.values[0]) ** 2))
        assert (found.paths is None) == (samples == 0)
    assert residuals[1] < residuals[0]
