from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import assert_contract

import jaxvae
from experiments import interpolation
from experiments.interpolation import (
    Config,
    GriddedSeries,
    Model,
    Problem,
    Training,
    example_of,
    load,
)
from experiments.shared.options import Running
from experiments.shared.runs import data_keys
from jaxvae import data, ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = Model(latent_dim=3, units=4, hidden=5)


def configure(out, **running):
    return Config(
        problem=Problem(series=15),
        model=SMALL,
        training=Training(steps=3, batch_size=4),
        running=Running(out=str(out), seeds=2, **running),
    )


FIXED = ode.fixed_steps(0.1, solver=ode.Euler())


@pytest.fixture(
    scope="module",
    params=[FIXED, pytest.param(interpolation.INTEGRATOR, marks=pytest.mark.exhaustive)],
    ids=["fixed", "adaptive"],
)
def integrator(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpolation, "INTEGRATOR", request.param)
        yield request.param


@pytest.fixture(scope="module")
def run(integrator, tmp_path_factory):
    out = tmp_path_factory.mktemp("filled") / "run"
    return out, interpolation.main(configure(out))


def test_the_experiment_keeps_its_contract(run):
    out, report = run
    keys = {"seeds", "test_mse", "test_mse_sd", "test_elbo_nats"}
    assert_contract(out, report, keys=keys, pictures={"elbo", "interpolations"})
    # A unit sinusoid has the variance 1/2 about its mean.
    assert report["test_mse_of_channel_means"] == pytest.approx(0.5, abs=0.1)


def test_a_series_stands_on_the_grid_where_it_was_measured():
    series = jaxvae.TimeSeries(
        jnp.array([0.0, 0.2, 0.2]), jnp.zeros((3, 1)), jnp.ones((3, 1), bool)
    )
    mask = jnp.array([[True], [True], [True], [False]])  # the last row is padding
    values = jnp.array([[5.0], [6.0], [8.0], [jnp.nan]])
    row = GriddedSeries(series, jnp.array([0, 2, 2, 2]), values, mask)
    example = jax.jit(lambda row: example_of(4, row))(row)
    np.testing.assert_array_equal(example.target[:, 0], [5.0, 0.0, 7.0, 0.0])
    np.testing.assert_array_equal(example.context.mask[:, 0], [True, False, True, False])


def test_periodic_series_are_divided_and_compared_at_all_times():
    series = load(Problem(series=20, observed_fraction=0.3), Running(seed=3))
    drawn = data.periodic(20, observed_fraction=0.3, key=data_keys(Running(seed=3))[0])
    np.testing.assert_array_equal(series.train.values, drawn.target.values[:16])
    np.testing.assert_array_equal(series.test.observed.values, drawn.observed.values[16:])
    np.testing.assert_array_equal(np.float32(series.times), drawn.target.times[0])
    examples = jax.vmap(lambda row: example_of(100, row))(series.test)
    np.testing.assert_array_equal(examples.target, drawn.target.values[16:])
    assert examples.context.mask.all()


def test_records_stand_in_their_bins_and_nothing_is_lost(data_dir):
    if not (data_dir / "physionet2012").exists():
        pytest.skip("there is no folder physionet2012")
    series = load(Problem("physionet"), Running())
    few = jax.tree.map(lambda x: x[:20], series.test)
    examples = jax.jit(jax.vmap(lambda row: example_of(len(series.times), row)))(few)
    assert len(series.times) == 481
    assert len(series.test.places) == 800
    for row in range(20):
        own = np.asarray(examples.context.mask[row])
        assert own.sum() == few.mask[row].sum()
        bins, channels = np.nonzero(own)
        order = np.nonzero(few.mask[row])
        times = few.observed.times[row][order[0]]
        np.testing.assert_allclose(np.array(series.times)[bins], times, atol=1e-6)
        np.testing.assert_array_equal(channels, order[1])
        np.testing.assert_array_equal(
            np.asarray(examples.target[row])[own], few.values[row][few.mask[row]]
        )


def test_means_do_not_depend_on_how_the_series_are_shared_out(integrator):
    config = configure("unused")
    series = load(config.problem, Running())
    model = interpolation.build(SMALL, series)
    params = model.init(jax.random.key(0))
    length = len(series.times)
    first = jax.tree.map(lambda x: x[:2], series.test)
    predict = jax.jit(partial(interpolation.predict, model, length=length))
    together, apart = predict(params, series.test), predict(params, first)
    # Adaptive steps are chosen by all series together, within the solver's tolerance of 1e-3.
    atol = 1e-5 if integrator == FIXED else 2e-3
    np.testing.assert_allclose(together[:2], apart, atol=atol)


def test_the_published_error_is_a_mean_over_series_and_channels():
    target = np.zeros((1, 3, 3))
    means = np.array([[[1.0, 2.0, 5.0], [3.0, 2.0, 5.0], [9.0, 9.0, 9.0]]])
    mask = np.zeros((1, 3, 3), bool)
    mask[0, :2, 0] = mask[0, 0, 1] = True
    # (1 + 9) / 2 of the first channel, 4 of the second, nothing of the third.
    np.testing.assert_allclose(interpolation.published_mse(means, target, mask), (5 + 4 + 0) / 3)


def test_other_points_are_seen_at_each_step_of_training():
    series = load(Problem(series=20, observed_fraction=0.3), Running(seed=3))
    row = jax.tree.map(lambda x: x[0], series.train)
    keys = jax.random.split(jax.random.key(0), 2)
    one, two = (example_of(100, row, key=key, seen=series.seen).inputs for key in keys)
    assert one.times.shape == (30,)
    assert len(np.unique(one.times)) == 30
    assert not np.array_equal(one.times, two.times)
    assert set(np.asarray(one.values[:, 0]).tolist()) <= set(row.values[:, 0].tolist())
