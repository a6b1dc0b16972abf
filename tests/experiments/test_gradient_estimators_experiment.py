import dataclasses

import jax
import numpy as np
import pytest
from contract import assert_contract, log_of

from experiments import gradient_estimators
from experiments.gradient_estimators import (
    Config,
    Estimation,
    Gaussian,
    Model,
    Training,
    gaussian,
)
from experiments.shared.options import Running

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = Gaussian(draws=(2, 10), dimensions=(3, 6), dimension=3, repeats=2048)


def quadrature_variance(options, name, number):
    """Of one sample in one dimension, from the lecture's formulas by Gauss-Hermite sums."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    sigma, x = options.posterior_scale, options.observed
    z = sigma * nodes
    log_p = -0.5 * z**2 - 0.5 * (x - z) ** 2 - np.log(2 * np.pi)
    log_q = -0.5 * nodes**2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    estimates = {
        "pathwise": x - 2 * z,
        "sticking_the_landing": x - 2 * z + nodes / sigma,
        "score": nodes / sigma * (log_p - log_q),
    }[name]
    mean = weights @ estimates
    np.testing.assert_allclose(mean, gaussian.exact_gradient(options))
    return weights @ (estimates - mean) ** 2 / number


@pytest.mark.parametrize("name", ["pathwise", "sticking_the_landing", "score"])
@pytest.mark.parametrize(("observed", "scale"), [(1.0, 0.5), (-3.0, 2.0), (0.3, 0.5**0.5)])
def test_the_closed_forms_are_sums_over_the_noise(name, observed, scale):
    options = Gaussian(observed=observed, posterior_scale=scale)
    theory = gaussian.variance(options, name, 5, 1)
    np.testing.assert_allclose(
        theory, quadrature_variance(options, name, 5), rtol=1e-10, atol=1e-20
    )


def test_only_landing_and_leaving_one_out_are_silent_at_the_exact_posterior():
    options = Gaussian(observed=0.0, posterior_scale=0.5**0.5)
    found = {n: gaussian.variance(options, n, 4, 7) for n in gaussian.ESTIMATORS}
    assert abs(found["sticking_the_landing"]) < 1e-20
    assert abs(found["score_leave_one_out"]) < 1e-20
    np.testing.assert_allclose(found["pathwise"], 0.5)
    # Its bound is log p(x) for every sample, by which the score is multiplied.
    np.testing.assert_allclose(found["score"], 2 * (3.5 * np.log(4 * np.pi)) ** 2 / 4)


@pytest.fixture(scope="module")
def swept():
    return gaussian.sweep(SMALL, jax.random.key(0))


def test_variances_are_those_of_the_closed_forms(swept):
    for found in swept:
        for name, each in found.items():
            for at, measured in each.items():
                off = abs(measured.variance - measured.theory) / measured.error
                assert off < 4.5, (name, at)


def test_every_estimator_is_unbiased(swept):
    for name, each in swept[0].items():
        for at, measured in each.items():
            error = np.sqrt(measured.theory / len(measured.estimates))
            assert abs(measured.estimates.mean() - 1.0) < 4.5 * error, (name, at)


def test_the_variance_falls_as_one_over_the_number_of_samples(swept):
    for name in ("pathwise", "sticking_the_landing", "score"):
        # Two variances of 2048 estimates each leave about a fiftieth.
        np.testing.assert_allclose(gaussian.slope(swept[0][name]), -1, atol=0.08)
    report = gaussian.metrics(SMALL, *swept)
    ratio = report["lecture_variance_ratio_score_to_pathwise"]
    theory = report["lecture_variance_ratio_score_to_pathwise_theory"]
    np.testing.assert_allclose(ratio, theory, rtol=0.2)
    assert theory > 50


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    config = Config(
        gaussian=SMALL,
        model=Model(latents=2, bits=3, hidden=16),
        estimation=Estimation(
            only=("score", "straight_through"), samples=2, keys=20, test_samples=8
        ),
        training=Training(epochs=24, learning_rate=5e-3),
        running=Running(out=str(out), seeds=2),
    )
    return config, out, gradient_estimators.main(config)


def test_the_experiment_keeps_its_contract(ran):
    config, out, report = ran
    keys = {"seeds", "test_elbo_nats_bits_enumerated_sd"}
    assert_contract(out, report, keys=keys, pictures={"lecture", "training", "noise"})
    assert len(log_of(out)) == 24
    with pytest.raises(ValueError, match="hidden was 16 and is 17"):
        gradient_estimators.main(
            dataclasses.replace(
                config,
                model=dataclasses.replace(config.model, hidden=17),
                running=dataclasses.replace(config.running, resume=True),
            )
        )


def test_less_noise_learns_faster_at_equal_steps(ran):
    report = ran[2]
    for kind, reference in (("normal", "pathwise"), ("bits", "enumerated")):
        gap = report[f"test_elbo_nats_{kind}_{reference}"] - report[f"test_elbo_nats_{kind}_score"]
        assert gap > 0.5
        assert report[f"test_elbo_nats_{kind}_{reference}"] > -40


def test_enumeration_is_silent_and_straight_through_is_biased(ran):
    report = ran[2]
    for stage in ("at_start", "trained"):
        assert report[f"gradient_noise_nats_inference_{stage}_bits_enumerated"] == 0.0
        assert f"snr_inference_{stage}_bits_enumerated" not in report
        ratio = [report[f"snr_inference_{stage}_normal_{name}"] for name in ("pathwise", "score")]
        assert ratio[0] > 2 * ratio[1]
    words = "inference_trained_bits_straight_through"
    bias = report[f"relative_bias_{words}"]
    assert bias > 3 * report[f"relative_bias_resolution_{words}"]
