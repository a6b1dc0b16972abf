"""The benchmark of the engine: ratios, contenders that train the same, and a tiny run."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from benchmarks import engine
from benchmarks.shared.fits import digits, from_bytes

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = engine.Config(
    log_every=6,
    records=2,
    seed_steps=2,
    repeats=2,
    threads=1,
    batch_size=4,
    rows=16,
    hidden=8,
    latent_dim=2,
    pause=0.0,
)


def test_ratios_of_the_engine():
    medians = {
        engine.ENGINE: 2.2,
        engine.BARE: 2.0,
        engine.ONE: 1.0,
        engine.SIXTEEN: 5.0,
        engine.ONE_BY_ONE: 12.0,
        engine.MEMORY: 3.0,
        engine.STREAM: 4.0,
    }
    ratios = engine.derive(medians, 0.1, [0.1, 0.3])
    expected = {
        "engine_overhead": 0.1,
        "engine_overhead_without_last_write": 0.05,
        "sixteen_seeds_over_one": 5.0,
        "sixteen_one_by_one_over_one": 12.0,
        "sixteen_single_runs_over_best": 3.2,
        "streaming_share_of_in_memory": 0.75,
        "waiting_share": 0.2,
    }
    assert ratios == pytest.approx(expected)


def test_the_bare_loop_trains_the_parameters_of_fit():
    """Over the end of an epoch of four steps, in the same order and with the same noise."""
    images = np.random.default_rng(0).random((18, 28, 28), np.float32)
    fit = engine.exercise_12(TINY, images)
    bare = engine.BareLoop(*fit.args, **fit.keywords, steps=6, loops=2)
    assert bare() > 0
    trained = fit(num_steps=12, log_every=6, progress=False)
    assert int(bare.state.step) == 12
    # Adam moves by up to 1e-3 a step, and a gradient's rounding by a millionth of that.
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), bare.state.params, trained.params
    )
    np.testing.assert_allclose(bare.bound, trained.history[-1]["bound"], rtol=1e-5)


def test_rows_of_bytes_become_pixels_from_0_to_1():
    example = from_bytes(jnp.array([0, 51, 255], jnp.uint8), key=jax.random.key(0))
    np.testing.assert_allclose(example.target, [0.0, 0.2, 1.0], rtol=1e-6)
    assert example.inputs.dtype == np.float32


def test_the_digits_network_is_that_of_the_experiment():
    loss, init, images = digits(64).args
    shapes = {leaf.shape for leaf in jax.tree.leaves(init(jax.random.key(0)))}
    assert images.shape[1:] == (8, 8)
    assert {(64, 256), (256, 256), (256, 4), (2, 256), (256, 64)} <= shapes
    assert loss.func is jaxvae.objectives.elbo


def test_tiny_run_of_the_engine(tmp_path, capsys):
    results = engine.main(engine.Config(**{**vars(TINY), "out": str(tmp_path)}))
    assert json.loads((tmp_path / "results.json").read_text()) == results
    names = [engine.ENGINE, engine.BARE, engine.ONE, engine.SIXTEEN, engine.ONE_BY_ONE]
    names += [engine.MEMORY, engine.STREAM]
    assert {name: len(times) for name, times in results["seconds"].items()} == dict.fromkeys(
        names, 2
    )
    assert results["steps"][engine.ENGINE] == results["steps"][engine.STREAM] == 12
    assert 0 <= results["waiting_share"] <= 1
    bounds = results["last_bound_nats"]
    assert np.isfinite(list(bounds.values())).all()
    assert engine.STREAM in capsys.readouterr().out
