import numpy as np
import pytest
from contract import assert_contract, configure

from experiments import laplace

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_the_laplace_experiment_keeps_its_contract(tmp_path):
    out = tmp_path / "run"
    config = configure(
        laplace.Config(), out=str(out), hidden=6, epochs=2, batch_size=300,
        examples=6, chains=2, temperatures=4, nll_samples=3, largest=100,
    )  # fmt: skip
    report = laplace.main(config)
    assert_contract(out, report, pictures={"stirling", "evidence"})
    assert report["stirling_largest_n"] == 100
    # 1 - 1/(24 N), of the series 1/(12 N) - 1/(288 N^2).
    np.testing.assert_allclose(report["stirling_error_times_12_n"], 1 - 1 / 2400, rtol=1e-5)
    # A decoder that has hardly learnt anything is nearly linear in z.
    assert report["draws_laplace_share"] == 1.0
    error = report["draws_laplace_gap_spread_nats"] / np.sqrt(6)
    assert abs(report["draws_laplace_gap_nats"]) < 0.05 + 4 * error
    bracket = report["draws_upper_nats"] - report["draws_lower_nats"]
    np.testing.assert_allclose(report["draws_bracket_nats"], bracket, atol=1e-5)
