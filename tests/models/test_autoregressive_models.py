from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from partly_observed import same_observations, series
from scipy import stats

from jaxvae import models, nn, ode
from jaxvae.model import Example
from jaxvae.objectives import log_likelihood
from jaxvae.series import TimeSeries

pytestmark = pytest.mark.usefixtures("quick_compilation")

RECURRENCES = {
    "rnn": partial(nn.recurrent, with_gaps=False),
    "rnn_with_gaps": nn.anticipating,
    "gru_decay": partial(nn.gru_decay, means=(0.5, -0.2)),
    "ode_rnn": nn.ode_rnn,
}
every_model = pytest.mark.parametrize("name", RECURRENCES)
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
AHEAD = jnp.array([3.2, 4.0, 4.1])


@cache
def model_of(name):
    model = models.autoregressive(RECURRENCES[name](2, 5))
    params = jax.tree.map(lambda leaf: leaf + 0.05, jax.jit(model.init)(jax.random.key(0)))
    return model, params


@cache
def compiled(name):
    """Log-density with its gradients, the distribution of each row and the forecast of a series."""
    model, params = model_of(name)

    def everything(params, series, ahead=AHEAD):
        def log_prob(params, values):
            return model.log_prob(params, series._replace(values=values))

        scored = jax.value_and_grad(log_prob, (0, 1))(params, series.values)
        return scored, model.one_step(params, series), model.forecast(params, series, ahead)

    return partial(jax.jit(everything), params)


@every_model
def test_the_log_density_counts_the_observed_values_and_no_other(name):
    (log_prob, _), predictions, _ = compiled(name)(series())
    _, values, mask = map(np.asarray, series())
    scores = stats.norm.logpdf(values, predictions.loc, np.exp(predictions.log_scale))
    np.testing.assert_allclose(log_prob, scores[mask].sum(), rtol=1e-5)


@every_model
def test_nothing_but_the_observations_matters(name):
    (log_prob, (by_params, by_values)), _, ahead = compiled(name)(series())
    np.testing.assert_array_equal(by_values != 0, series().mask)
    for other in same_observations().values():
        (other_log_prob, (other_by_params, _)), _, other_ahead = compiled(name)(other)
        np.testing.assert_allclose(other_log_prob, log_prob, rtol=1e-6)
        jax.tree.map(close, other_by_params, by_params)
        np.testing.assert_array_equal(other_ahead.loc, ahead.loc)


@every_model
def test_a_row_is_predicted_from_those_before_it(name):
    changed = series()._replace(values=jnp.where(series().mask, series().values + 1.0, 0.0))
    before_row = jnp.arange(7)[:, None] < 4
    changed = changed._replace(values=jnp.where(before_row, series().values, changed.values))
    _, predictions, _ = compiled(name)(series())
    _, others, _ = compiled(name)(changed)
    np.testing.assert_array_equal(others.loc[:5], predictions.loc[:5])
    assert np.abs(others.loc[5:] - predictions.loc[5:]).min() > 0


@every_model
def test_a_forecast_goes_on_with_its_own_means(name):
    """One step ahead of the series, then one step ahead of the series with that step in it."""
    _, _, ahead = compiled(name)(series())
    times, values, mask = series()
    # Rows to come, of which nothing is observed yet, take the place of padding.
    times = jnp.concatenate([times, AHEAD])
    values = jnp.concatenate([values, jnp.zeros((3, 2))])
    mask = jnp.concatenate([mask, jnp.zeros((3, 2), bool)])
    one_step = jax.jit(model_of(name)[0].one_step)
    for row in (7, 8, 9):
        predicted = one_step(model_of(name)[1], TimeSeries(times, values, mask))
        close(ahead.loc[row - 7], predicted.loc[row])
        close(ahead.log_scale[row - 7], predicted.log_scale[row])
        values, mask = values.at[row].set(predicted.loc[row]), mask.at[row].set(True)


@every_model
def test_falling_times_are_rising_ones_reflected(name):
    times, values, mask = series()
    (log_prob, _), predictions, ahead = compiled(name)(series())
    (reflected, _), others, other_ahead = compiled(name)(TimeSeries(-times, values, mask), -AHEAD)
    np.testing.assert_array_equal(reflected, log_prob)
    np.testing.assert_array_equal(others.loc, predictions.loc)
    np.testing.assert_allclose(other_ahead.loc, ahead.loc, rtol=1e-5, atol=1e-6)


@every_model
def test_only_the_first_baseline_does_not_know_the_times(name):
    times, values, mask = series()
    (log_prob, _), _, _ = compiled(name)(series())
    (slower, _), _, _ = compiled(name)(TimeSeries(2.0 * times, values, mask), 2.0 * AHEAD)
    assert (abs(slower - log_prob) > 1e-4) == (name != "rnn")


@every_model
def test_vmap_is_one_after_another(name):
    model, params = model_of(name)
    batch = jax.tree.map(lambda *x: jnp.stack(x), series(), series(full=True))
    together = jax.jit(jax.vmap(model.log_prob, (None, 0)))(params, batch)
    close(together, [compiled(name)(each)[0][0] for each in (series(), series(full=True))])


def keeping_the_last_value(name):
    """A cell whose state is the last value seen."""
    cell = partial(nn.rnn_cell, activation=lambda x: x)
    if name == "ode_rnn":
        integrator = ode.adaptive(1e-6, 1e-7, max_steps=64)
        made = nn.ode_rnn(1, 1, field=nn.affine(1), cell=cell, integrator=integrator)
    else:
        made = nn.recurrent(1, 1, cell=cell, with_gaps=False)
    weights = {
        "input": jnp.array([[1.0], [0.0]]),
        "recurrent": jnp.zeros((1, 1)),
        "bias": jnp.zeros(1),
    }
    return models.autoregressive(made), weights


def head(slope, log_scale):
    return {
        "layers": {
            0: {"kernel": jnp.array([[slope, 0.0]]), "bias": jnp.array([0.0, log_scale])},
        }
    }


def test_an_autoregressive_process_has_its_gaussian_density_and_forecast():
    slope, scale = -0.8, 0.3
    model, weights = keeping_the_last_value("rnn")
    params = {"recurrence": weights, "head": head(slope, np.log(scale))}
    x = np.array([0.2, -0.5, 0.4, 1.0, -0.3])
    times = jnp.arange(5.0)
    # (I - slope S) x is white noise, with S the shift by a row.
    whiten = np.eye(5) - slope * np.eye(5, k=-1)
    covariance = scale**2 * np.linalg.inv(whiten.T @ whiten)
    whole = TimeSeries(times, jnp.float32(x[:, None]), jnp.ones((5, 1), bool))
    got = jax.jit(model.log_prob)(params, whole)
    np.testing.assert_allclose(
        got, stats.multivariate_normal(np.zeros(5), covariance).logpdf(x), rtol=1e-5
    )
    ahead = jax.jit(model.forecast)(params, whole, jnp.arange(5.0, 9.0))
    np.testing.assert_allclose(ahead.mean[:, 0], x[-1] * slope ** np.arange(1, 5), rtol=1e-5)
    np.testing.assert_allclose(ahead.scale, scale, rtol=1e-5)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_decay_in_continuous_time_is_forecast_at_any_times(direction):
    rate = 0.7
    model, weights = keeping_the_last_value("ode_rnn")
    field = {"A": jnp.array([[-rate]]), "b": jnp.zeros(1)}
    params = {"recurrence": {"cell": weights, "field": field}, "head": head(1.0, 0.0)}
    x = TimeSeries(jnp.array([0.0, 1.5]), jnp.array([[3.0], [2.0]]), jnp.ones((2, 1), bool))
    after = np.array([0.1, 0.7, 4.0])
    x, times = x._replace(times=direction * x.times), jnp.float32(direction * (1.5 + after))
    got = jax.jit(model.forecast)(params, x, times)
    np.testing.assert_allclose(got.mean[:, 0], 2.0 * np.exp(-rate * after), rtol=1e-4)


def test_trained_on_sine_waves_it_beats_a_normal_with_their_mean_and_variance():
    model = models.autoregressive(nn.anticipating(1, 16))
    loss = partial(log_likelihood, model.log_prob)
    optimiser = optax.adam(1e-2)

    def waves(key):
        time_key, phase_key = jax.random.split(key)
        times = jnp.sort(jax.random.uniform(time_key, (64, 25), maxval=8.0), axis=1)
        phases = jax.random.uniform(phase_key, (64, 1), maxval=2 * jnp.pi)
        values = jnp.sin(times + phases)[..., None]
        return TimeSeries(times, values, jnp.ones(values.shape, bool))

    def nats(params, batch, key):
        def one(series):
            return loss(params, Example(None, series), key=key).surrogate

        return jnp.mean(jax.vmap(one)(batch))

    def step(carry, key):
        params, state = carry
        batch_key, loss_key = jax.random.split(key)
        gradient = jax.grad(lambda p: -nats(p, waves(batch_key), loss_key))(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def trained(key):
        init_key, steps_key = jax.random.split(key)
        params = model.init(init_key)
        carry = (params, optimiser.init(params))
        return jax.lax.scan(step, carry, jax.random.split(steps_key, 300))[0][0]

    params = trained(jax.random.key(0))
    held_out = waves(jax.random.key(1))
    _, values, _ = map(np.asarray, held_out)
    got = jax.jit(nats)(params, held_out, jax.random.key(2)) / 25
    # A sine at a uniform phase has variance 1/2; a nat better is a scale smaller by e.
    normal = stats.norm(values.mean(), values.std()).logpdf(values).mean()
    assert got > normal + 1.0
    predictions = jax.jit(jax.vmap(model.one_step, (None, 0)))(params, held_out)
    rmse = np.sqrt(np.mean((predictions.loc - values)[:, 5:] ** 2))
    assert rmse < 0.3 * values.std()


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("times", [[1.4, 2.0], [2.0, 1.9], [-1.0, -2.0]])
def test_a_forecast_that_turns_back_is_refused(direction, times):
    model, params = model_of("rnn_with_gaps")
    rows = direction * jnp.array([0.0, 1.5, 3.0])
    mask = jnp.array([[True, True], [False, True], [False, False]])
    past = TimeSeries(rows, jnp.zeros((3, 2)), mask)
    forecast = jax.jit(model.forecast)
    assert np.isfinite(forecast(params, past, direction * jnp.array([1.5, 1.6])).mean).all()
    with pytest.raises(Exception, match="continue from the last observed row"):
        jax.block_until_ready(forecast(params, past, direction * jnp.array(times)))


def test_a_series_of_one_row_is_forecast_either_way_and_not_both_ways():
    model, params = model_of("rnn_with_gaps")
    past = TimeSeries(jnp.zeros(2), jnp.zeros((2, 2)), jnp.array([[True, True], [False, False]]))
    forecast = jax.jit(model.forecast)
    for direction in (-1.0, 1.0):
        assert np.isfinite(forecast(params, past, direction * jnp.arange(1.0, 4.0)).mean).all()
    for times in ([1.0, -1.0, 5.0], [1.0, float("nan"), 5.0]):
        with pytest.raises(Exception, match="continue from the last observed row"):
            jax.block_until_ready(forecast(params, past, jnp.array(times)))
