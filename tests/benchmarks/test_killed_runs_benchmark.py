"""The benchmark of killed runs: moments, what a folder tells, and a tiny run."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import killed_runs


def test_kills_are_seeded_spread_over_the_run_and_half_of_them_in_writes():
    moments = killed_runs.plan(20, 6900, seed=1)
    assert moments == killed_runs.plan(20, 6900, seed=1) != killed_runs.plan(20, 6900, seed=2)
    steps = [kill.step for kill in moments]
    assert steps == sorted(steps)
    assert steps[0] == moments[0].delay == 0
    assert 3000 < steps[-1] < 6900
    assert sum(kill.while_writing for kill in moments) == 10
    assert not moments[0].while_writing


def test_a_log_that_is_cut_short_is_read_up_to_there(tmp_path):
    assert killed_runs.read_log(tmp_path) == []
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}')
    assert killed_runs.read_log(tmp_path) == [{"step": 1}]


def _record(step, steps, rate=1.0, bound=0.0):
    return {"step": step, "chunk_steps": steps, "steps_per_second": rate, "held_out_bound": bound}


def test_where_a_run_was_resumed_is_read_from_its_first_record():
    before = [_record(23, 23), _record(46, 23), _record(69, 23)]
    # Resumed at 60: the third record is written again, with another time.
    after = [*before[:2], _record(69, 9, rate=2.0), _record(92, 23)]
    records = killed_runs.new_records(before, after)
    assert records == after[2:]
    assert killed_runs.first_step(records) == 60
    assert killed_runs.new_records(before, before[:2]) == []
    assert killed_runs.new_records([], after) == after


def test_a_checkpoint_of_the_name_of_a_stale_one_is_a_new_one(tmp_path):
    tmp = tmp_path / "checkpoints" / "300.orbax-checkpoint-tmp"
    tmp.mkdir(parents=True)
    (tmp_path / "checkpoints" / "200").mkdir()
    stale = killed_runs.being_written(tmp_path)
    assert len(stale) == 1
    assert killed_runs.being_written(tmp_path) - stale == set()
    while killed_runs.being_written(tmp_path) == stale:  # The clock of the file system is coarse.
        (tmp / "params").mkdir()
        (tmp / "params").rmdir()
    assert killed_runs.being_written(tmp_path) - stale
    assert killed_runs.complete_steps(tmp_path) == [200]


def _life(first, last, complete, writing=False, damaged=0):
    return {
        "first_step": first,
        "last_logged": last,
        "complete": complete,
        "writing": writing,
        "damaged": damaged,
    }


def test_results_of_killed_runs():
    found = [
        _life(0, 46, []),
        _life(0, 690, [300], writing=True),
        _life(300, 920, [600, 900]),
        _life(600, 966, [600, 900], damaged=1),
        _life(None, None, [600, 900]),
    ]
    results = killed_runs.derive(found, interval=300, line_steps=23)
    assert results == {
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
    reference = [_record(23, 23, bound=1.0), _record(46, 23, bound=2.0), _record(69, 23, bound=3.0)]
    killed = [_record(23, 23, bound=1.0), _record(69, 9, bound=4.0)]
    assert killed_runs.compare_logs(reference, killed) == {
        "missing_lines": [46],
        "different_lines": [69],
    }
    same = {"missing_lines": [], "different_lines": []}
    assert killed_runs.compare_logs(reference, reference) == same


def test_a_process_that_fails_by_itself_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(killed_runs, "COMMAND", (sys.executable, "-c", "raise SystemExit(2)"))
    folder, output = tmp_path / "run", tmp_path / "output.txt"
    with (
        killed_runs.Process(["--no-such-option"], folder, output) as process,
        pytest.raises(RuntimeError, match="exit status 0, got 2"),
    ):
        process.kill(killed_runs.Kill(0, False, 0.0))


def test_no_kills_are_refused():
    with pytest.raises(ValueError, match="--kills expected"):
        killed_runs.main(killed_runs.Config(kills=0))


SMALL = (sys.executable, str(Path(__file__).parent / "small_run.py"))


@pytest.mark.parametrize(
    "command",
    [SMALL, pytest.param(killed_runs.COMMAND, marks=pytest.mark.exhaustive)],
    ids=["small", "vae"],
)
def test_tiny_run_with_two_kills(tmp_path, monkeypatch, command):
    monkeypatch.setattr(killed_runs, "COMMAND", command)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(killed_runs.REPOSITORY))
    results = killed_runs.main(
        killed_runs.Config(kills=2, epochs=60, checkpoint_steps=100, out=str(tmp_path))
    )
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert results["kills"] == 2
    assert results["bit_identical"]
    assert results["fell_back"] == results["damaged"] == 0
    assert results["missing_lines"] == results["different_lines"] == []
    assert results["resumed"] + results["started_again"] == 2
