import dataclasses
import json

import numpy as np
import pytest
from contract import assert_contract
from spiral_windows import FIXED, SMALL, problem_of, windows

from experiments import latent_ode
from experiments.latent_ode import Config, Problem, Training, ode_forecaster, scores
from experiments.latent_ode.experiment import draw_series, starts_of
from experiments.latent_ode.forecaster import BEYOND, PRESETS, WINDOW
from experiments.shared.options import Running
from jaxvae import data

pytestmark = pytest.mark.usefixtures("quick_compilation")


MODELS = ("latent_ode", "rnn")


def configure(out, **running):
    return Config(
        problem=Problem(points=(6,), series=10, test_series=8),
        training=Training(models=MODELS, steps=3),
        running=Running(out=str(out), seeds=2, **running),
    )


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "best", dataclasses.replace(SMALL, sleep=0.0))
        patch.setattr(ode_forecaster, "INTEGRATOR", FIXED)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, small):
    out = tmp_path_factory.mktemp("latent") / "run"
    return out, latent_ode.main(configure(out))


def test_the_experiment_keeps_its_contract(run):
    out, report = run
    measures = [f"{measure}_{model}_6" for measure in scores.MEASURES for model in MODELS]
    measures.remove("rmse_inside_rnn_6")  # which predicts rows one by one
    keys = {measure + end for measure in measures for end in ("", "_sd")}
    assert_contract(out, report, keys=keys, pictures={"figure_20_6"})
    for model in MODELS:
        own = json.loads((out / f"{model}_6" / "metrics.json").read_text())
        assert (own["model"], own["points"], own["steps"]) == (model, 6, 3)
        assert report[f"rmse_clean_{model}_6"] == own["rmse_clean"] > 0


def test_resuming_trains_nothing_that_is_finished(run, capsys):
    out, report = run
    assert latent_ode.main(configure(out, resume=True)) == report
    assert "points:" not in capsys.readouterr().out
    changed = configure(out, resume=True)
    problem = dataclasses.replace(changed.problem, noise=0.1)
    with pytest.raises(ValueError, match=r"noise was 0\.3 and is 0\.1"):
        latent_ode.main(dataclasses.replace(changed, problem=problem))


@pytest.mark.parametrize(("split", "shared"), [("between", 79), ("apart", 0), ("beyond", 0)])
def test_test_windows_share_as_few_points_with_training_as_is_said(split, shared):
    starts = starts_of(split)
    nearest = np.abs(starts.test[:, None] - starts.train).min(1)
    assert max(0, WINDOW - nearest.min()) == shared
    trained = np.unique(starts.train[:, None] + np.arange(WINDOW))
    whole = starts.test[starts.test + WINDOW + BEYOND <= data.SpiralCurves().grid_points]
    after = np.unique(whole[:, None] + np.arange(WINDOW, WINDOW + BEYOND))
    unknown = np.sum(~np.isin(after, trained))
    assert unknown == {"between": 0, "apart": 19, "beyond": len(after)}[split]


def test_every_seed_has_series_of_its_own_and_test_series_are_new():
    train, test = (part.observed.values for part in windows())
    assert train.shape == (12, 2, 40, 2)
    assert test.shape == (40, 2, 40, 2)
    # Of so many float32 numbers a few are equal by chance.
    assert np.isin(np.asarray(test), np.asarray(train)).mean() < 0.01
    assert np.isin(np.asarray(train[:, 0]), np.asarray(train[:, 1])).mean() < 0.01
    one, _ = draw_series(problem_of(40), 40, Running(seed=1))
    np.testing.assert_array_equal(one.observed.values[:, 0], train[:, 1])
