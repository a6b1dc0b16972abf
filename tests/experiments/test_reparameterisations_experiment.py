import json
import re
import sys

import numpy as np
import pytest

from experiments import reparameterisations
from experiments.reparameterisations import FAMILIES, Config, Repetition, Sampling
from jaxvae import distributions, training

pytestmark = pytest.mark.usefixtures("quick_compilation")

CASES = [case for cases in FAMILIES.values() for case in cases]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    # All of the default's samples: compilation takes the time, and fewer would let errors of some
    # per cent in a closed form pass.
    config = Config(running=Repetition(out=str(out)))
    return out, reparameterisations.main(config)


@pytest.fixture
def figures(ran, case):
    """The metrics of one family, by the names that follow the family's."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", case.name).lower()
    wanted = ("ks_p_value", "variance_ratio", *(f"gradient_{x}" for x in ("exact", *ESTIMATORS)))
    errors = tuple(f"gradient_{x}_standard_error" for x in ESTIMATORS)
    return {key: ran[1][f"{name}_{key}"] for key in (*wanted, *errors)}


ESTIMATORS = ("pathwise", "score")


def distance(figures, estimator):
    """From the closed form, in standard errors."""
    off = figures[f"gradient_{estimator}"] - figures["gradient_exact"]
    return abs(off) / figures[f"gradient_{estimator}_standard_error"]


def test_every_family_of_the_three_kinds_is_in_the_table():
    kinds = [f"jaxvae.distributions.{kind}." for kind in FAMILIES]
    exported = {
        name
        for name, value in vars(distributions).items()
        if isinstance(value, type) and value.__module__.startswith(tuple(kinds))
    }
    assert exported <= {case.name for case in CASES}


@every_case
def test_samples_have_the_law_of_the_density(case, figures):
    assert figures["ks_p_value"] > 1e-3


@every_case
def test_the_pathwise_gradient_is_that_of_the_closed_form(case, figures):
    assert distance(figures, "pathwise") < 4


@every_case
def test_the_score_function_agrees_unless_the_support_moves(case, figures):
    if case.support_moves:
        assert distance(figures, "score") > 100
    else:
        assert distance(figures, "score") < 4
        assert figures["variance_ratio"] > 1


def test_the_score_function_of_a_moving_support_misses_the_boundary(ran):
    # d/dlog w of the mean over [1, 1 + w] is f at the upper end less the mean; it sees the latter.
    report = ran[1]
    mean_square = 7 / 3
    error = report["uniform_gradient_score_standard_error"]
    assert abs(report["uniform_gradient_score"] + mean_square) < 4 * error
    np.testing.assert_allclose(report["uniform_gradient_exact"], 4 - mean_square, rtol=1e-5)


def test_the_experiment_keeps_its_contract(ran):
    out, report = ran
    assert json.loads((out / "metrics.json").read_text()) == report
    assert report.keys() >= {"experiment", "dataset", "seed", "device", "jax_version"}
    # Nothing is trained.
    assert not report.keys() & {"steps", "train_seconds", "parameters_sha256"}
    assert {path.stem for path in out.glob("*.png")} == set(FAMILIES)
    assert len((out / "log.jsonl").read_text().splitlines()) == len(CASES)
    assert json.loads((out / "config.json").read_text())["sampling"] == {"samples": 100_000}


def test_several_seeds_are_reported_with_their_spread(tmp_path, monkeypatch):
    monkeypatch.setattr(reparameterisations, "FAMILIES", {"inversion": FAMILIES["inversion"][:1]})
    config = Config(Sampling(500), Repetition(out=str(tmp_path / "run"), seeds=3))
    report = reparameterisations.main(config)
    assert report["seeds"] == 3
    spread = report["exponential_gradient_score_sd"]
    assert 0 < spread < 5 * report["exponential_gradient_score_standard_error"]
    again = Config(Sampling(500), Repetition(out=str(tmp_path / "run"), seeds=3, overwrite=True))
    assert reparameterisations.main(again) == report


@pytest.mark.parametrize("arguments", ["--samples 1", "--seeds 0", "--seed -1", "--steps 3"])
def test_wrong_values_are_refused_before_anything_is_written(
    monkeypatch, capsys, tmp_path, arguments
):
    monkeypatch.setattr(sys, "argv", ["reparameterisations", *arguments.split()])
    monkeypatch.setenv("JAXVAE_COMPILATION_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        training.command_line(reparameterisations.main, Config)
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
