import re
from functools import cache

import numpy as np
import pytest
from contract import assert_contract, log_of

from experiments import reparameterisations
from experiments.reparameterisations import FAMILIES, Config, Repetition, Sampling
from jaxvae import distributions

pytestmark = pytest.mark.usefixtures("quick_compilation")

CASES = [case for cases in FAMILIES.values() for case in cases]
# One of each way to sample and to differentiate, and one whose support moves.
ALWAYS = ("Exponential", "Uniform", "Normal", "MultivariateStudentT", "Gamma", "RelaxedCategorical")
SOME = {
    kind: tuple(case for case in cases if case.name in ALWAYS) for kind, cases in FAMILIES.items()
}
# The samples of the default show errors of some per cent in a closed form, fewer larger ones.
FEW, MANY = 10_000, 100_000
every_run = pytest.mark.parametrize(
    "ran", [FEW, pytest.param(MANY, marks=pytest.mark.exhaustive)], indirect=True
)
every_case = pytest.mark.parametrize(
    ("ran", "case"),
    [
        *(pytest.param(FEW, case, id=case.name) for case in CASES if case.name in ALWAYS),
        *(
            pytest.param(MANY, case, id=f"{MANY}-{case.name}", marks=pytest.mark.exhaustive)
            for case in CASES
        ),
    ],
    indirect=["ran"],
)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Few samples of some families, or many of all, drawn once."""

    @cache
    def run(samples):
        out = tmp_path_factory.mktemp("runs") / "run"
        config = Config(Sampling(samples), Repetition(out=str(out)))
        with pytest.MonkeyPatch.context() as patch:
            if samples == FEW:
                patch.setattr(reparameterisations, "FAMILIES", SOME)
            return out, reparameterisations.main(config)

    return run


@pytest.fixture
def ran(request, run_of):
    return run_of(request.param)


@pytest.fixture
def measured(ran, case):
    """The metrics of one family, by the names that follow the family's."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", case.name).lower()
    wanted = ("ks_p_value", "variance_ratio", *(f"gradient_{x}" for x in ("exact", *ESTIMATORS)))
    errors = tuple(f"gradient_{x}_standard_error" for x in ESTIMATORS)
    return {key: ran[1][f"{name}_{key}"] for key in (*wanted, *errors)}


ESTIMATORS = ("pathwise", "score")


def distance(measured, estimator):
    """From the closed form, in standard errors."""
    off = measured[f"gradient_{estimator}"] - measured["gradient_exact"]
    return abs(off) / measured[f"gradient_{estimator}_standard_error"]


def test_every_family_of_the_three_kinds_is_in_the_table():
    kinds = [f"jaxvae.distributions.{kind}." for kind in FAMILIES]
    exported = {
        name
        for name, value in vars(distributions).items()
        if isinstance(value, type) and value.__module__.startswith(tuple(kinds))
    }
    assert exported <= {case.name for case in CASES}


@every_case
def test_samples_have_the_distribution_of_the_density(case, measured):
    assert measured["ks_p_value"] > 1e-3


@every_case
def test_the_pathwise_gradient_is_that_of_the_closed_form(case, measured):
    assert distance(measured, "pathwise") < 4


@every_case
def test_the_score_function_agrees_unless_the_support_moves(case, measured, ran):
    if case.support_moves:
        # Its standard error falls with the square root of the number of samples.
        assert distance(measured, "score") > 100 * (ran[1]["samples"] / 100_000) ** 0.5
    else:
        assert distance(measured, "score") < 4
        assert measured["variance_ratio"] > 1


@every_run
def test_the_score_function_of_a_moving_support_misses_the_boundary(ran):
    # d/dlog w of the mean over [1, 1 + w] is f at the upper end less the mean; it sees the latter.
    report = ran[1]
    mean_square = 7 / 3
    error = report["uniform_gradient_score_standard_error"]
    assert abs(report["uniform_gradient_score"] + mean_square) < 4 * error
    np.testing.assert_allclose(report["uniform_gradient_exact"], 4 - mean_square, rtol=1e-5)


@every_run
def test_the_experiment_keeps_its_contract(ran):
    out, report = ran
    assert_contract(out, report, pictures=FAMILIES, trained=False)
    assert len(log_of(out)) == (len(ALWAYS) if report["samples"] == FEW else len(CASES))
    assert Config().sampling.samples == 100_000


def test_several_seeds_are_reported_with_their_spread(tmp_path, monkeypatch):
    monkeypatch.setattr(reparameterisations, "FAMILIES", {"inversion": FAMILIES["inversion"][:1]})
    config = Config(Sampling(500), Repetition(out=str(tmp_path / "run"), seeds=3))
    report = reparameterisations.main(config)
    assert report["seeds"] == 3
    spread = report["exponential_gradient_score_sd"]
    assert 0 < spread < 5 * report["exponential_gradient_score_standard_error"]
    again = Config(Sampling(500), Repetition(out=str(tmp_path / "run"), seeds=3, overwrite=True))
    assert reparameterisations.main(again) == report
