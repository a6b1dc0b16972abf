import json

import numpy as np
import pytest

from experiments import laplace
from experiments.shared.options import MonitoredRunning, Training

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONTRACT = {
    *("experiment", "dataset", "seed", "steps", "train_seconds", "compile_seconds"),
    *("steps_per_second", "device", "jax_version", "parameters_sha256"),
}


def configure(out, **estimation):
    tiny = {"examples": 6, "chains": 2, "temperatures": 4, "nll_samples": 3, "largest": 100}
    return laplace.Config(
        model=laplace.Model(hidden=6),
        estimation=laplace.Estimation(**(tiny | estimation)),
        training=Training(epochs=2, batch_size=300),
        running=MonitoredRunning(out=str(out)),
    )


def test_the_laplace_experiment_keeps_its_contract(tmp_path):
    out = tmp_path / "run"
    report = laplace.main(configure(out))
    assert json.loads((out / "metrics.json").read_text()) == report
    assert report.keys() >= CONTRACT
    assert {path.stem for path in out.glob("*.png")} == {"stirling", "evidence"}
    assert report["stirling_largest_n"] == 100
    # 1 - 1/(24 N), of the series 1/(12 N) - 1/(288 N^2).
    np.testing.assert_allclose(report["stirling_error_times_12_n"], 1 - 1 / 2400, rtol=1e-5)
    # A decoder that has hardly learnt anything is nearly linear in z.
    assert report["draws_laplace_share"] == 1.0
    error = report["draws_laplace_gap_spread_nats"] / np.sqrt(6)
    assert abs(report["draws_laplace_gap_nats"]) < 0.05 + 4 * error
    bracket = report["draws_upper_nats"] - report["draws_lower_nats"]
    np.testing.assert_allclose(report["draws_bracket_nats"], bracket, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"temperatures": 1}, {"chains": 0}, {"nll_samples": -1}])
def test_wrong_values_are_refused_before_anything_is_written(tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} expected a number from"):
        laplace.main(configure(tmp_path / "run", **wrong))
    assert not (tmp_path / "run").exists()
