"""Interleaved repeats, and ``jaxvae.fit`` chunk by chunk."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

import jaxvae
from benchmarks.shared import timing
from benchmarks.shared.timing import SteppedFit, WallClockFit, interleave
from jaxvae import Estimate

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_the_repeats_of_contenders_are_interleaved():
    order = []
    contenders = {name: lambda name=name: float(order.append(name) or len(order)) for name in "ABC"}
    seconds = interleave(contenders, 2)
    assert "".join(order) == "ABCABC"
    assert seconds == {"A": [1.0, 4.0], "B": [2.0, 5.0], "C": [3.0, 6.0]}


def test_a_stepped_fit_trains_the_parameters_of_fit():
    def loss(params, example, *, key, settings=None):
        noise = jax.random.normal(key, params.shape)
        value = -((params - example.target + 0.1 * noise) ** 2).sum()
        return Estimate(value, value, {})

    rows = np.random.default_rng(0).random((10, 3), np.float32)
    fit = partial(
        jaxvae.fit, loss, lambda key: jax.random.normal(key, (3,)), rows,
        key=jax.random.key(0), batch_size=4, optimiser=optax.sgd(0.1),
    )  # fmt: skip
    with SteppedFit(fit, steps=3, chunks=4) as stepped:
        assert stepped() > 0
        assert WallClockFit(stepped, chunks=2)() > 0
        assert stepped() > 0
        last = stepped.result()
    whole = fit(num_steps=15, progress=False)
    assert int(last.state.step) == 15
    np.testing.assert_array_equal(last.params, whole.params)


def chunks_of(num_steps, log_every, callbacks, progress):
    """Stands for ``jaxvae.fit``: one second for each step."""
    for step in range(log_every, num_steps + 1, log_every):
        for call in callbacks:
            call(None, {"step": step, "chunk_steps": log_every, "steps_per_second": 1.0})
    return "trained"


def test_a_stepped_fit_passes_on_what_fit_raises_and_may_be_left_early():
    def wrong(**options):
        raise ValueError("batch_size")

    with pytest.raises(ValueError, match="batch_size"):
        SteppedFit(wrong, steps=3, chunks=2).__enter__()
    with SteppedFit(chunks_of, steps=3, chunks=2) as stepped:
        assert stepped() == 3.0
    with SteppedFit(chunks_of, steps=3, chunks=1) as stepped:
        stepped()
        with pytest.raises(RuntimeError, match="at most as many calls"):
            stepped()
        assert stepped.result() == "trained"


def test_a_wall_clock_counts_what_is_done_between_chunks_and_at_the_end_but_no_pause(monkeypatch):
    now = [0.0]

    def spend(seconds):
        now[0] += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "sleep", spend)
    fit = WallClockFit(partial(spend, 2.0), chunks=3, finish=partial(spend, 5.0), pause=100.0)  # pyright: ignore[reportArgumentType]
    assert fit() == 3 * 2 + 5
    assert fit() == 3 * 2 + 5
    assert fit.waited == [5.0, 5.0]
    assert now[0] == 2 * (11 + 100)
