"""The engine's benchmarks: figures, contenders that do the same, kills, and tiny runs."""

import json
import time
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from benchmarks import bare_loop, engine, killed_runs, kills
from benchmarks.fit_in_turns import FitInTurns
from benchmarks.fits import digits, from_bytes
from benchmarks.wall_clock import WholeTurn

TINY = engine.Config(
    log_every=6,
    lines=2,
    seed_steps=2,
    repeats=2,
    threads=1,
    batch_size=4,
    rows=16,
    hidden=8,
    latent_dim=2,
    pause=0.0,
)


def test_derived_figures_of_the_engine():
    medians = {
        engine.ENGINE: 2.2,
        engine.BARE: 2.0,
        engine.ONE: 1.0,
        engine.SIXTEEN: 5.0,
        engine.ONE_BY_ONE: 12.0,
        engine.MEMORY: 3.0,
        engine.STREAM: 4.0,
    }
    figures = engine.derive(medians, 0.1, [0.1, 0.3])
    expected = {
        "engine_overhead": 0.1,
        "engine_overhead_without_last_write": 0.05,
        "sixteen_seeds_over_one": 5.0,
        "sixteen_one_by_one_over_one": 12.0,
        "sixteen_single_runs_over_best": 3.2,
        "streaming_share_of_in_memory": 0.75,
        "waiting_share": 0.2,
    }
    assert figures == pytest.approx(expected)


def test_a_whole_turn_counts_what_is_done_between_lines_and_at_its_end_but_no_pause():
    class Fit:
        calls: ClassVar[list[float]] = []

        def __call__(self):
            time.sleep(0.02)
            self.calls.append(0.0)
            return 0.0

    turn = WholeTurn(Fit(), lines=3, finish=partial(time.sleep, 0.05), pause=0.5)  # pyright: ignore[reportArgumentType]
    assert 0.11 <= turn() < 0.4
    assert len(Fit.calls) == 3
    assert turn.waited[0] >= 0.05


def test_the_bare_loop_trains_the_parameters_of_fit():
    """Over the end of an epoch of four steps, in the same order and with the same noise."""
    images = np.random.default_rng(0).random((18, 28, 28), np.float32)
    fit = engine.exercise_12(TINY, images)
    bare = bare_loop.BareLoop(*fit.args, **fit.keywords, steps=6, loops=2)
    assert bare() > 0
    trained = fit(num_steps=12, log_every=6, progress=False)
    assert int(bare.state.step) == 12
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), bare.state.params, trained.params
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


def test_whole_turns_are_fit():
    images = np.random.default_rng(0).random((16, 28, 28), np.float32)
    fit = engine.exercise_12(TINY, images)
    with FitInTurns(fit, steps=3, chunks=4) as turns:
        whole = WholeTurn(turns, lines=2)
        assert whole() > 0
        assert whole() > 0
        stepwise = turns.result()
    straight = fit(num_steps=15, progress=False)
    jax.tree.map(np.testing.assert_array_equal, stepwise.params, straight.params)


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


def test_kills_are_seeded_spread_over_the_run_and_half_of_them_in_writes():
    moments = kills.plan(20, 6900, seed=1)
    assert moments == kills.plan(20, 6900, seed=1) != kills.plan(20, 6900, seed=2)
    steps = [kill.step for kill in moments]
    assert steps == sorted(steps)
    assert steps[0] == moments[0].delay == 0
    assert 3000 < steps[-1] < 6900
    assert sum(kill.while_writing for kill in moments) == 10
    assert not moments[0].while_writing


def test_a_log_that_is_cut_short_is_read_up_to_there(tmp_path):
    assert kills.read_log(tmp_path) == []
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}')
    assert kills.read_log(tmp_path) == [{"step": 1}]


def _line(step, steps, rate=1.0, bound=0.0):
    return {"step": step, "chunk_steps": steps, "steps_per_second": rate, "held_out_bound": bound}


def test_where_a_run_was_resumed_is_read_from_its_first_line():
    before = [_line(23, 23), _line(46, 23), _line(69, 23)]
    # Resumed at 60: the third line is taken again, with another time.
    after = [*before[:2], _line(69, 9, rate=2.0), _line(92, 23)]
    lines = kills.new_lines(before, after)
    assert lines == after[2:]
    assert kills.first_step(lines) == 60
    assert kills.new_lines(before, before[:2]) == []
    assert kills.new_lines([], after) == after


def test_a_checkpoint_of_the_name_of_a_stale_one_is_a_new_one(tmp_path):
    tmp = tmp_path / "checkpoints" / "300.orbax-checkpoint-tmp"
    tmp.mkdir(parents=True)
    (tmp_path / "checkpoints" / "200").mkdir()
    stale = kills.being_written(tmp_path)
    assert len(stale) == 1
    assert kills.being_written(tmp_path) - stale == set()
    time.sleep(0.02)
    (tmp / "params").mkdir()
    assert kills.being_written(tmp_path) - stale
    assert kills.complete_steps(tmp_path) == [200]


def _life(first, last, complete, writing=False, damaged=0):
    return {
        "first_step": first,
        "last_logged": last,
        "complete": complete,
        "writing": writing,
        "damaged": damaged,
    }


def test_derived_figures_of_killed_runs():
    found = [
        _life(0, 46, []),
        _life(0, 690, [300], writing=True),
        _life(300, 920, [600, 900]),
        _life(600, 966, [600, 900], damaged=1),
        _life(None, None, [600, 900]),
    ]
    figures = killed_runs.derive(found, interval=300, line_steps=23)
    assert figures == {
        "kills": 4,
        "kills_while_writing": 1,
        "resumed": 3,
        "started_again": 1,
        "max_steps_lost": 390,
        "interval": 300,
        "line_steps": 23,
        "beyond_interval": 1,
        "beyond_interval_outside_writes": 0,
        "fell_back": 1,
        "damaged": 1,
        "steps_lost": [46, 390, 320, 66],
    }


def test_logs_are_compared():
    reference = [_line(23, 23, bound=1.0), _line(46, 23, bound=2.0), _line(69, 23, bound=3.0)]
    killed = [_line(23, 23, bound=1.0), _line(69, 9, bound=4.0)]
    assert killed_runs.compare_logs(reference, killed) == {
        "missing_lines": [46],
        "different_lines": [69],
    }
    same = {"missing_lines": [], "different_lines": []}
    assert killed_runs.compare_logs(reference, reference) == same


def test_a_process_that_fails_by_itself_is_told(tmp_path):
    folder, said = tmp_path / "run", tmp_path / "said.txt"
    with (
        kills.Process(["--no-such-option"], folder, said) as process,
        pytest.raises(RuntimeError, match="exit status 0, got 2"),
    ):
        process.kill(kills.Kill(0, False, 0.0))


def test_no_kills_are_refused():
    with pytest.raises(ValueError, match="--kills expected"):
        killed_runs.main(killed_runs.Config(kills=0))


def test_tiny_run_with_two_kills(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    results = killed_runs.main(
        killed_runs.Config(kills=2, epochs=60, checkpoint_steps=100, out=str(tmp_path))
    )
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert results["kills"] == 2
    assert results["bit_identical"]
    assert results["fell_back"] == results["damaged"] == 0
    assert results["missing_lines"] == results["different_lines"] == []
    assert results["resumed"] + results["started_again"] == 2
