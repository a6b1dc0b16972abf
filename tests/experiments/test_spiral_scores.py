import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spiral_windows import problem_of, windows

import jaxvae
from experiments.latent_ode import scores
from experiments.latent_ode.experiment import draw_series
from experiments.latent_ode.forecaster import BEYOND, WINDOW
from experiments.latent_ode.scores import exact_forecast
from experiments.shared.options import Running
from jaxvae import data

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_the_truth_forecasts_itself_and_noise_adds_in_squares():
    _, test = windows()
    truth = values, exists = scores.truth_about(test)
    assert exists[:, :, BEYOND : BEYOND + WINDOW].all()
    assert not exists.all()
    found = scores.errors(truth, values, 0.3, seed=0)
    for name in ("rmse_clean", "rmse_backward", "rmse_inside"):
        np.testing.assert_array_equal(found[name], 0)
    # 40 series x 100 points x 2 coordinates: a standard error of 0.3 / sqrt(2 x 8,000).
    np.testing.assert_allclose(found["rmse_noisy"], 0.3, atol=4 * 0.3 / np.sqrt(16_000))


def test_forward_counts_where_it_exists_and_backward_elsewhere():
    _, test = windows()
    truth = values, exists = scores.truth_about(test)
    forward = exists[:, :, BEYOND + WINDOW :].all(-1)
    assert 0 < forward.mean() < 1
    shift = np.zeros(values.shape)
    shift[:, :, BEYOND + WINDOW :] = 1.0
    shift[:, :, :BEYOND] = 2.0
    found = scores.errors(truth, values + shift, 0.3, seed=0)
    expected = np.sqrt(np.where(forward, 1.0, 4.0).mean(1))
    np.testing.assert_allclose(found["rmse_clean"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["rmse_backward"], 2.0, rtol=1e-5)


def test_with_so_little_noise_that_one_window_is_left_the_exact_forecast_is_the_truth():
    _, test = draw_series(dataclasses.replace(problem_of(40), noise=0.01), 40, Running())
    truth = values, exists = scores.truth_about(test)
    found = scores.exact(test, truth, 0.01)["rmse_clean_exact"]
    assert found.shape == (1,)
    assert found[0] < 1e-3
    own = jax.tree.map(lambda x: x[0, 0], test.observed)
    forecast = np.asarray(jax.jit(exact_forecast)(own, 0.01))
    here = exists[0, 0]
    np.testing.assert_allclose(forecast[here], values[0, 0][here], atol=1e-2)


def test_the_exact_forecast_is_an_average_over_windows_by_their_likelihood():
    """One point, seen with so much noise that it says nothing: the mean of all windows."""
    series = jaxvae.TimeSeries(jnp.zeros(1), jnp.ones((1, 2)), jnp.ones((1, 2), bool))
    forecast = np.asarray(jax.jit(exact_forecast)(series, 1e4))
    curves = np.asarray(data.spiral_curves())
    np.testing.assert_allclose(forecast[BEYOND], curves[:, 100:400].mean((0, 1)), atol=1e-4)
    # The last point is the 199th after the start, where the curve has ended if that is above 300.
    np.testing.assert_allclose(forecast[-1], curves[:, 299:500].mean((0, 1)), atol=1e-4)
