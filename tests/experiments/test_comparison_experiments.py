"""The experiments that train several models side by side, with tiny settings on the digits."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxvae
from experiments import importance_weighted, posteriors
from experiments.shared.options import MonitoredRunning, Training
from jaxvae import data

pytestmark = pytest.mark.usefixtures("quick_compilation")

TRAINING = Training(epochs=2, batch_size=300)
POSTERIORS = posteriors.Config(
    dataset="digits",
    model=posteriors.Model(
        posteriors=("full_covariance",),
        latent_dim=3,
        hidden=(8,),
        nll_samples=3,
    ),
    training=replace(TRAINING, optimiser="rmsprop"),
)
BOUNDS = importance_weighted.Config(
    dataset="digits",
    model=importance_weighted.Model(
        methods=("vae_1", "dreg_5"), latent_dim=3, hidden=(8,), nll_samples=3
    ),
    training=TRAINING,
)


def in_folder(config, folder, **running):
    return replace(config, running=MonitoredRunning(out=str(folder), **running))


SEVERAL = replace(POSTERIORS.model, posteriors=("full_covariance", "inverse_autoregressive"))


@pytest.fixture(
    scope="module",
    params=[
        POSTERIORS,
        pytest.param(replace(POSTERIORS, model=SEVERAL), marks=pytest.mark.exhaustive),
    ],
    ids=["one posterior", "several"],
)
def compared(request):
    return request.param


@pytest.fixture(scope="module")
def runs(compared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparisons")
    return folder, {
        "posteriors": posteriors.main(in_folder(compared, folder / "posteriors")),
        "bounds": importance_weighted.main(in_folder(BOUNDS, folder / "bounds", seeds=2)),
    }


def test_each_method_has_a_run_of_its_own_and_the_table_repeats_its_metrics(compared, runs):
    folder, reports = runs
    names = {
        "posteriors": compared.model.posteriors,
        "bounds": BOUNDS.model.methods,
    }
    for kind, report in reports.items():
        assert json.loads((folder / kind / "metrics.json").read_text()) == report
        assert (folder / kind / "comparison.png").stat().st_size > 5000
        for name in names[kind]:
            own = json.loads((folder / kind / name / "metrics.json").read_text())
            for key in ("test_nll_nats", "test_elbo_nats", "parameters_sha256"):
                assert report[f"{key}_{name}"] == own[key]
        total = sum(
            json.loads((folder / kind / name / "metrics.json").read_text())["train_seconds"]
            for name in names[kind]
        )
        np.testing.assert_allclose(report["train_seconds"], total)
    assert reports["bounds"]["test_nll_nats_dreg_5_sd"] > 0


def test_every_posterior_comes_back_with_its_model(compared, runs):
    folder, reports = runs
    images = data.binarise(data.load("digits", seed=0), seed=0).test.inputs[:5]
    for name in compared.model.posteriors:
        trained = jaxvae.load(folder / "posteriors" / name)
        assert trained.reconstruct(images).shape == images.shape
        assert reports["posteriors"][f"test_nll_nats_{name}"] > 0


def test_resuming_trains_nothing_that_is_finished(compared, runs, capsys):
    folder, reports = runs
    again = posteriors.main(in_folder(compared, folder / "posteriors", resume=True))
    assert again == reports["posteriors"]
    assert "full_covariance:" not in capsys.readouterr().out


def test_the_learning_rate_falls_in_stages_of_three_to_the_power_of_i():
    optimiser = importance_weighted.staged_adam(1e-3, steps_per_epoch=2)
    params = np.float32(0.0)
    state = optimiser.init(params)
    rates = []
    for _ in range(30):
        # With gradients of one size Adam's steps are its rate, up to epsilon.
        with jax.numpy_dtype_promotion("standard"):
            update, state = jax.jit(optimiser.update)(np.float32(1.0), state)
        rates.append(-float(update) * (1 + 1e-4))
    expected = [1e-3] * 2 + [1e-3 * 10 ** (-1 / 7)] * 6 + [1e-3 * 10 ** (-2 / 7)] * 18
    np.testing.assert_allclose(rates[:26], expected, rtol=2e-3)
    np.testing.assert_allclose(rates[26:], 1e-3 * 10 ** (-3 / 7), rtol=2e-3)
