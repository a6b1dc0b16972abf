import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import assert_contract, log_of

from experiments import maximum_likelihood
from experiments.maximum_likelihood import Config, Training, ascent, polynomials
from experiments.shared.options import Running
from jaxvae.distributions import kl_divergence

TINY = polynomials.Regression(
    points=40, test_points=200, data_sets=20, sizes=(12, 40), largest_degree=3, degrees=(1, 3)
)
PICTURES = {"figure_1", "figure_2", "figure_3", "figure_4", "figure_5", "likelihood"}


def configure(out, **running):
    return Config(
        sampling=ascent.Sampling(samples=50, ascent_steps=40),
        regression=TINY,
        training=Training(epochs=400, batch_size=20),
        running=Running(out=str(out), **running),
    )


def keys(number):
    return jax.random.split(jax.random.key(0), number)


@pytest.fixture(scope="module")
def climbed():
    return ascent.ascend(ascent.Sampling(samples=300, ascent_steps=30), keys(3))


def test_gradient_ascent_reaches_the_sample_mean(climbed):
    mean = np.mean(np.float64(climbed.samples), axis=1)
    np.testing.assert_allclose(climbed.paths[:, 0, -1], mean, atol=2e-7)


def test_a_step_contracts_by_one_minus_the_learning_rate_over_the_optimal_one(climbed):
    rates = ascent.Sampling().rates
    theory = np.broadcast_to(1 - np.array(rates), climbed.factors.shape)
    np.testing.assert_allclose(climbed.factors, theory, atol=2e-6)
    distances = np.abs(climbed.paths - np.mean(np.float64(climbed.samples), axis=1)[:, None, None])
    # One step is enough with the optimal rate; above twice the optimal one nothing is.
    assert np.all(distances[:, 1, 1] < 1e-6)
    assert np.all(distances[:, 2, -1] < distances[:, 2, 0])
    assert np.all(distances[:, 3, -1] > distances[:, 3, 0])


def test_the_likelihood_falls_from_its_maximum_by_the_divergence(climbed):
    samples = climbed.samples[0]
    best = jnp.mean(samples)
    top = ascent.mean_log_likelihood(best, samples, 0.1)
    for theta in jnp.asarray([0.2, 0.4, 0.5, 0.6, 0.9]):
        divergence = kl_divergence(ascent.model(best, 0.1), ascent.model(theta, 0.1))
        fall = top - ascent.mean_log_likelihood(theta, samples, 0.1)
        np.testing.assert_allclose(fall, divergence, atol=1e-5)


def test_the_basis_is_orthonormal_and_spans_all_polynomials():
    nodes, weights = np.polynomial.legendre.leggauss(20)
    x = (nodes + 1) / 2
    features = polynomials.basis(x, 12)
    gram = features.T @ (weights[:, None] / 2 * features)
    np.testing.assert_allclose(gram, np.eye(13), atol=1e-12)
    assert polynomials.smallest_error(polynomials.TRUTHS["curve"], 10, 0.0) < 1e-20
    assert polynomials.smallest_error(polynomials.TRUTHS["curve"], 9, 0.0) > 1e-11


def test_errors_of_least_squares_are_those_of_theory():
    """E_in = sigma^2 (1 - p/N); given x, E_out = sigma^2 (1 + trace of the inverse Gram matrix)."""
    number, degree, noise, data_sets = 25, 2, 0.7, 2000
    train, test = polynomials.draw(keys(data_sets), number, 100, noise, degree)
    found = polynomials.fit(train, test, number, degree)[1]
    gram = np.einsum("dni,dnj->dij", *2 * [np.float64(train.features)])
    variances = np.trace(np.linalg.inv(gram), axis1=1, axis2=2)
    theory = noise**2 * (1 - (degree + 1) / number), noise**2 * (1 + variances)
    # The first function is a line, which degree 2 can follow.
    for got, wanted in zip(found, theory, strict=True):
        difference = np.float64(got[:, 0]) - wanted
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(data_sets)


def test_overfitting_shows_out_of_sample_and_shrinks_with_the_number_of_points():
    options = dataclasses.replace(TINY, sizes=(12, 40, 1000), data_sets=100)
    by_size, by_degree = polynomials.sweep(options, jax.random.key(0))
    gaps = [float(np.mean(found.outside - found.inside)) for found in by_size]
    limit = polynomials.smallest_error(polynomials.TRUTHS["curve"], 3, 1.0)
    # About 2 sigma^2 p/N; 100 data sets of 1,000 points leave an error of some thousandths.
    assert gaps[0] > 5 * gaps[1] > 0
    assert abs(gaps[2]) < 0.03
    for errors in by_size[-1]:
        np.testing.assert_allclose(np.mean(errors), limit, rtol=0.03)
    inside, outside = (
        [float(np.mean(each)) for each in errors] for errors in zip(*by_degree, strict=True)
    )
    assert inside == sorted(inside, reverse=True)
    assert all(np.array(outside) > inside)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("likelihood") / "run"
    return out, maximum_likelihood.main(configure(out, seeds=2))


def test_the_experiment_keeps_its_contract(run):
    out, report = run
    keys = {"seeds", "maximum_likelihood_estimate_sd"}
    assert_contract(out, report, keys=keys, pictures=PICTURES)
    assert report["distance_from_sample_mean"] < 2e-7
    assert report["kl_nats_at_0.4"] == pytest.approx(0.5, rel=1e-5)
    assert report["curve_degree_3_in_sample_error"] < report["curve_degree_1_in_sample_error"]
    assert len(log_of(out)) == 400


def test_resuming_a_finished_run_gives_its_results_once_more(run):
    out, report = run
    resumed = maximum_likelihood.main(configure(out, seeds=2, resume=True))
    timed = {"compile_seconds", "train_seconds", "steps_per_second"}
    assert {k: v for k, v in resumed.items() if k not in timed} == {
        k: v for k, v in report.items() if k not in timed
    }
    with pytest.raises(ValueError, match="seeds was 2 and is 3"):
        maximum_likelihood.main(configure(out, seeds=3, resume=True))


def test_stochastic_gradient_ascent_ends_at_least_squares(run):
    report = run[1]
    for name in ("line_degree_1", "line_degree_3", "curve_degree_1", "curve_degree_3"):
        assert report[f"{name}_rms_gradient_ascent_to_least_squares"] < 1e-2
