import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from experiments import latent_ode, spiral_scores
from experiments.latent_ode import (
    FORECASTERS,
    Config,
    Problem,
    Running,
    Training,
    draw_series,
    starts_of,
)
from experiments.spiral_forecasters import BEYOND, SPACING, WINDOW, times_of
from experiments.spiral_presets import PRESETS, Setting
from jaxvae import data, models, training
from jaxvae.distributions import Normal

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONTRACT = {"experiment", "dataset", "seeds", "steps", "train_seconds", "compile_seconds"}
CONTRACT |= {"steps_per_second", "device", "jax_version", "parameters_sha256"}
MODELS = ("latent_ode", "rnn")
SMALL = Setting("anywhere", "rnn", 3, (4,), (3,), 3, 0.3, 0.1, 6, 4.0, 4, 5, 1e-2, True)


def configure(out, **running):
    return Config(
        problem=Problem(points=(6,), series=10, test_series=8),
        training=Training(models=MODELS, steps=3),
        running=Running(out=str(out), seeds=2, **running),
    )


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "best", SMALL)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, small):
    out = tmp_path_factory.mktemp("latent") / "run"
    return out, latent_ode.main(configure(out))


def test_the_experiment_keeps_its_contract(run):
    out, report = run
    assert json.loads((out / "metrics.json").read_text()) == report
    measures = [f"{measure}_{model}_6" for measure in spiral_scores.MEASURES for model in MODELS]
    measures.remove("rmse_inside_rnn_6")  # which predicts rows one by one
    assert report.keys() >= CONTRACT | {m + end for m in measures for end in ("", "_sd")}
    assert {path.stem for path in out.glob("*.png")} == {"figure_20_6"}
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


def problem_of(points, split="shared", **options):
    return Problem(points=(points,), split=split, series=12, test_series=40, **options)


@pytest.fixture(scope="module")
def windows():
    return draw_series(problem_of(40), 40, Running(seeds=2))


def test_every_seed_has_series_of_its_own_and_test_series_are_new(windows):
    train, test = (part.observed.values for part in windows)
    assert train.shape == (12, 2, 40, 2)
    assert test.shape == (40, 2, 40, 2)
    # Of so many float32 numbers a few are equal by chance.
    assert np.isin(np.asarray(test), np.asarray(train)).mean() < 0.01
    assert np.isin(np.asarray(train[:, 0]), np.asarray(train[:, 1])).mean() < 0.01
    one, _ = draw_series(problem_of(40), 40, Running(seed=1))
    np.testing.assert_array_equal(one.observed.values[:, 0], train[:, 1])


def test_the_truth_forecasts_itself_and_noise_adds_in_squares(windows):
    _, test = windows
    truth = values, exists = spiral_scores.truth_about(test)
    assert exists[:, :, BEYOND : BEYOND + WINDOW].all()
    assert not exists.all()
    found = spiral_scores.errors(truth, values, 0.3, seed=0)
    for name in ("rmse_clean", "rmse_backward", "rmse_inside"):
        np.testing.assert_array_equal(found[name], 0)
    # 40 series x 100 points x 2 coordinates: a standard error of 0.3 / sqrt(2 x 8,000).
    np.testing.assert_allclose(found["rmse_noisy"], 0.3, atol=4 * 0.3 / np.sqrt(16_000))


def test_forward_counts_where_it_exists_and_backward_elsewhere(windows):
    _, test = windows
    truth = values, exists = spiral_scores.truth_about(test)
    forward = exists[:, :, BEYOND + WINDOW :].all(-1)
    assert 0 < forward.mean() < 1
    shift = np.zeros(values.shape)
    shift[:, :, BEYOND + WINDOW :] = 1.0
    shift[:, :, :BEYOND] = 2.0
    found = spiral_scores.errors(truth, values + shift, 0.3, seed=0)
    expected = np.sqrt(np.where(forward, 1.0, 4.0).mean(1))
    np.testing.assert_allclose(found["rmse_clean"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["rmse_backward"], 2.0, rtol=1e-5)


def mean_forecast(forecaster):
    one = jax.jit(lambda params, series: forecaster.forecast(params, series, None).mean)
    return lambda params, series: one(params, jax.tree.map(lambda x: x[None], series))[0]


def test_the_true_flow_is_forecast_by_the_latent_ode_wherever_it_starts(windows):
    """A latent circle, decoded as it is: each mean is the turned state of the middle."""
    setting = dataclasses.replace(SMALL, dynamics=(), decoder=(), samples=0)
    forecaster = FORECASTERS["latent_ode"](setting)
    params = forecaster.init(jax.random.key(0))
    turn = np.zeros((3, 3), np.float32)
    turn[0, 1], turn[1, 0] = 1.0, -1.0
    wanted = {(3, 3): turn, (3, 2): np.eye(3, 2, dtype=np.float32)}
    learnt = {
        name: jax.tree.map(
            lambda x: jnp.asarray(wanted.get(x.shape, np.zeros(x.shape)), x.dtype), own
        )
        for name, own in params.generative.items()
    }
    params = params._replace(generative=learnt)
    series = jax.tree.map(lambda x: x[0, 0], windows[1].observed)
    means = np.asarray(mean_forecast(forecaster)(params, series)) / SMALL.scale
    states = np.asarray(jax.jit(forecaster.states)(params, series))
    angle = (np.arange(2 * BEYOND + WINDOW) - BEYOND - WINDOW // 2) * SPACING
    x, y = means[BEYOND + WINDOW // 2]
    expected = np.stack(
        [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1
    )
    # The solver's relative tolerance is 1e-3 a step.
    np.testing.assert_allclose(means, expected, atol=0.02 * np.hypot(x, y))
    np.testing.assert_allclose(states[:, :2], means, atol=0.02 * np.hypot(x, y))


@pytest.fixture(scope="module")
def circle():
    """The experiment's own latent circle, decoded as it is, and its parameters."""
    setting = dataclasses.replace(SMALL, dynamics=(), decoder=(), latent_dim=2)
    forecaster = FORECASTERS["latent_ode"](setting)
    params = forecaster.init(jax.random.key(0))
    turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
    learnt = jax.tree.map(jnp.zeros_like, params.generative)
    learnt["dynamics"]["layers"][0]["kernel"] = turn
    learnt["decoder"]["layers"][0]["kernel"] = jnp.eye(2)
    learnt["log_noise"] = jnp.full(2, -20.0)
    return forecaster, params._replace(generative=learnt)


def turned_by(state, angle):
    (x, y), angle = np.asarray(state, float), np.asarray(angle, float)
    return np.stack(
        [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], -1
    )


def test_what_the_encoder_learns_besides_is_the_state_of_the_same_path(circle, windows):
    """Written again from the definitions: two starts, the turned state, and a dreamt window."""
    forecaster, params = circle
    own = forecaster.loss.__self__
    z = jnp.array([0.6, -0.3])
    carried = jax.jit(own._carried)(params, z, jnp.array(0.8))
    np.testing.assert_allclose(carried, turned_by(z, 0.8), atol=2e-3)
    start = jnp.array(30)
    law = own.training.likelihood(params, z, models.Grid(None, jnp.ones((199, 2), bool)))
    dreamt = jax.jit(lambda key: own._dreamt(law, 12, start, key))(jax.random.key(4))
    places = np.asarray(dreamt.times) / SPACING
    np.testing.assert_allclose(places, np.rint(places), atol=1e-4)
    assert len(np.unique(np.rint(places))) == 12
    assert places.min() > -0.5
    assert places.max() < WINDOW - 0.5
    expected = turned_by(z, (places - 30) * SPACING)
    np.testing.assert_allclose(dreamt.values, expected, atol=2e-2)


@pytest.mark.parametrize("term", ["consistency", "sleep"])
def test_the_further_terms_are_log_densities_under_q(windows, term, monkeypatch):
    """With q a standard Normal at every start, each term is that of the state that is reached."""
    setting = dataclasses.replace(SMALL, consistency=0.0, sleep=0.0, latent_dim=2)
    own = FORECASTERS["latent_ode"](dataclasses.replace(setting, **{term: 0.5})).loss.__self__
    reached = jnp.array([0.3, -1.2])
    monkeypatch.setattr(type(own), "_carried", lambda self, params, z, duration: reached)
    standard = Normal.standard((2,))
    monkeypatch.setattr(
        type(own), "_posteriors", lambda self, params, series, *starts: [standard] * len(starts)
    )
    series = jax.tree.map(lambda x: x[0], windows[0].observed)
    example = jaxvae.Example(inputs=series, target=None)
    params = own.training.init(jax.random.key(0))
    found = jax.jit(lambda p: own.loss(p, example, key=jax.random.key(2), settings=0))(params)
    expected = 0.5 * (-np.log(2 * np.pi) - 0.5 * (0.3**2 + 1.2**2))
    np.testing.assert_allclose(found.surrogate - found.bound, expected, rtol=1e-3)


def test_rows_without_times_are_taken_to_be_as_far_apart_as_those_of_the_window():
    """A network that repeats what it saw last: the forecast is a line from there."""
    forecaster = FORECASTERS["rnn"](SMALL)
    params = jax.tree.map(jnp.zeros_like, forecaster.init(jax.random.key(0)))
    head = params["forward"]["head"]["layers"][0]
    head["bias"] = jnp.full_like(head["bias"], 2.0)
    times = times_of(0, WINDOW)[3::4]
    values = jnp.zeros((25, 2))
    series = data.TimeSeries(times, values, jnp.ones((25, 2), bool))
    after = np.asarray(mean_forecast(forecaster)(params, series))[BEYOND + WINDOW :]
    # Rows of 2 from the fourth point on; before it, on the way there from 0.
    expected = np.minimum(np.arange(1, BEYOND + 1) / 4, 1.0)[:, None] * [2.0, 2.0]
    np.testing.assert_allclose(after, SMALL.scale * expected, rtol=1e-5)


def test_a_recurrent_network_reads_backwards_what_lies_before():
    """Turned in time, the problem has the two networks swapped."""
    forecaster = FORECASTERS["rnn_with_gaps"](SMALL)
    params = forecaster.init(jax.random.key(0))
    times = times_of(0, WINDOW)
    values = jax.random.normal(jax.random.key(1), (WINDOW, 2))
    series = data.TimeSeries(times, values, jnp.ones((WINDOW, 2), bool))
    turned = data.TimeSeries(times, values[::-1], series.mask)
    swapped = {"forward": params["backward"], "backward": params["forward"]}
    forecast = mean_forecast(forecaster)
    np.testing.assert_allclose(
        forecast(params, series), forecast(swapped, turned)[::-1], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", FORECASTERS)
def test_the_bound_is_one_of_the_values_as_they_are(name, windows):
    """Values, noise and outputs times a scale: the density is divided by it for each value."""
    series = jax.tree.map(lambda x: x[0], windows[0].observed)
    scaled = series._replace(values=3.0 * series.values)
    bounds = []
    for setting, own in ((SMALL, series), (dataclasses.replace(SMALL, scale=12.0), scaled)):
        forecaster = FORECASTERS[name](setting)
        params = forecaster.init(jax.random.key(0))
        example = jaxvae.Example(inputs=own, target=None)
        estimate = jax.jit(
            lambda p, f=forecaster, e=example: f.loss(p, e, key=jax.random.key(2), settings=1)
        )(params)
        bounds.append(float(estimate.bound))
    assert bounds[1] == pytest.approx(bounds[0] - 80 * np.log(3.0), rel=1e-4)


@pytest.mark.parametrize("term", ["consistency", "sleep"])
def test_what_trains_the_encoder_besides_changes_the_surrogate_alone(windows, term):
    series = jax.tree.map(lambda x: x[0], windows[0].observed)
    example = jaxvae.Example(inputs=series, target=None)
    found = []
    nothing = dataclasses.replace(SMALL, consistency=0.0, sleep=0.0)
    for weight in (0.0, 0.3, 0.6):
        forecaster = FORECASTERS["latent_ode"](dataclasses.replace(nothing, **{term: weight}))
        params = forecaster.init(jax.random.key(0))
        found.append(
            jax.jit(lambda p, f=forecaster: f.loss(p, example, key=jax.random.key(2), settings=0))(
                params
            )
        )
    none, some, more = found
    np.testing.assert_allclose([some.bound, more.bound], none.bound, rtol=1e-5)
    assert none.surrogate == none.bound
    value = float(some.surrogate - some.bound)
    assert float(more.surrogate - more.bound) == pytest.approx(2 * value, rel=1e-3)
    assert abs(value) > 1e-2


def test_a_dream_teaches_the_encoder_alone(windows):
    series = jax.tree.map(lambda x: x[0], windows[0].observed)
    example = jaxvae.Example(inputs=series, target=None)
    found = []
    for weight in (0.0, 1.0):
        setting = dataclasses.replace(SMALL, consistency=0.0, sleep=weight)
        forecaster = FORECASTERS["latent_ode"](setting)
        slope = jax.grad(
            lambda p, f=forecaster: f.loss(p, example, key=jax.random.key(2), settings=0).surrogate
        )
        found.append(jax.jit(slope)(forecaster.init(jax.random.key(0))))
    awake, both = found
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        awake.generative,
        both.generative,
    )
    encoders = (jax.tree.leaves(each.inference.encoder) for each in found)
    assert max(float(np.abs(a - b).max()) for a, b in zip(*encoders, strict=True)) > 1e-2


def test_many_weighted_samples_come_nearer_to_an_observed_series_than_the_mean_of_q(windows):
    """Untrained, q is too wide and in the wrong place."""
    series = jax.tree.map(lambda x: x[:1, 0], windows[1].observed)
    residuals = []
    for samples in (0, 2000):
        setting = dataclasses.replace(SMALL, samples=samples)
        forecaster = FORECASTERS["latent_ode"](setting)
        params = forecaster.init(jax.random.key(0))
        found = jax.jit(forecaster.forecast)(params, series, jax.random.key(1))
        at = np.rint(np.asarray(series.times[0]) / SPACING).astype(int) + BEYOND
        residuals.append(np.mean((np.asarray(found.mean[0])[at] - series.values[0]) ** 2))
        assert (found.paths is None) == (samples == 0)
    assert residuals[1] < residuals[0]


WRONG = ["--points 1", "--points 101", "--points 30 30", "--series 0", "--noise 0", "--steps 0"]
WRONG += ["--models euler", "--models rnn rnn", "--seeds 0", "--seed -1", "--resume"]
WRONG += ["--split random", "--preset other"]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_values_are_refused_before_anything_is_written(
    monkeypatch, capsys, tmp_path, arguments
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXVAE_COMPILATION_CACHE", "off")
    monkeypatch.setattr(sys, "argv", ["latent_ode", *arguments.split()])
    with pytest.raises(SystemExit) as leaving:
        training.command_line(latent_ode.main, Config)
    assert leaving.value.code == 2
    assert arguments.split()[0] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
