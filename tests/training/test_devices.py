"""Several devices and several processes give what one gives, within float tolerance."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from functools import cache, cached_property
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxvae.training import device_mesh
from jaxvae.training.devices import Layout, agree

sys.path.append(str(Path(__file__).parent))
import several_devices as several

pytestmark = pytest.mark.usefixtures("quick_compilation")

SCRIPT, TESTS = Path(several.__file__), Path(several.__file__).parents[1]


FOUR = "members_apart,failing,skipping"


class Launched:
    """Processes that train the same cases, and what the first of them printed."""

    def __init__(self, folder, processes):
        self.folder, self.processes = folder, processes

    @cached_property
    def result(self):
        first, *others = [result_of(process) for process in self.processes]
        assert others == [None] * len(others)
        return first


@pytest.fixture(scope="module")
def launch(quick_compilation, tmp_path_factory):
    """One process with four devices, or two with two devices each, that train the given cases."""
    with contextlib.ExitStack() as stack:

        def start(devices, *arguments):
            environment = os.environ | {
                "JAX_NUM_CPU_DEVICES": str(devices),
                "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
            }
            process = subprocess.Popen(
                [sys.executable, SCRIPT, *arguments], env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            stack.callback(process.kill)  # none outlives its tests
            return stack.enter_context(process)

        @cache
        def launch(cases, processes=1):
            folder = tmp_path_factory.mktemp("several")
            if processes == 1:
                return Launched(folder, [start(4, folder, cases)])
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
            pair = [start(2, folder, cases, address, str(i)) for i in range(2)]
            return Launched(folder, pair)

        # All at work together.
        launch("stream", processes=2)
        launch(FOUR)
        yield launch


def result_of(process):
    out, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    lines = [line for line in out.splitlines() if line.startswith("RESULT")]
    return json.loads(lines[0].removeprefix("RESULT")) if lines else None


@pytest.fixture(scope="module")
def four(launch):
    return launch(FOUR).result


def assert_same(found, expected):
    """Equal up to rounding: every number is a mean of at most 8 terms of order 10."""
    for name in ("params", "bound", "held_out"):
        for a, b in zip(*map(jax.tree.leaves, (found[name], expected[name])), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def first_member(found):
    params = [leaf[0] for leaf in found["params"]]
    return {"params": params, "bound": found["bound"][0], "held_out": found["held_out"][0]}


def test_four_devices_give_what_one_gives_and_share_the_work(four):
    found, expected = four["members_apart"], several.describe(several.members_apart())
    assert (expected["devices"], found["devices"]) == (1, 4)
    assert found["spread"] == ["('members',)"]
    assert_same(found, expected)


@pytest.mark.parametrize(
    "train", [several.stream, pytest.param(several.plain, marks=pytest.mark.exhaustive)]
)
def test_two_processes_train_and_save_together_and_one_resumes(launch, train):
    pair = launch(train.__name__, processes=2)
    first = pair.result[train.__name__]
    assert first["devices"] == 4
    assert first["spread"] == ["()" if train is several.plain else "('members',)"]
    resumed = several.kept(train, pair.folder, several.STEPS, resume=True)
    resumed, expected = several.describe(resumed), several.describe(train())
    assert resumed["first_step"] == 4
    assert_same(resumed, expected)
    # Each device maps over its own rows of the batch only; the held-out rows are everyone's.
    assert expected["shares"] == [several.BATCH, several.HELD_OUT]
    assert first["shares"] == [several.BATCH / 4, several.HELD_OUT]


def check_failing(found, integrator, trace):
    step = found["failed_at"][1]
    assert found["failed_at"] == [-1, step]
    assert step >= 0
    assert found["failure"] == f"the surrogate of member 1 was not finite at step {step}"
    assert found["rates"] == [1e5]
    assert found["trace"].startswith(f"solve: {trace}")
    assert np.isfinite(found["params"][0]).all()
    # The other member is as if nothing had happened, on two devices as on one.
    expected = several.describe(several.solves([1e-5, 1e-5], integrator))
    assert found["spread"] == ["('members',)"]
    assert found["shares"] == [several.BATCH / 2, several.HELD_OUT]
    assert_same(first_member(found), first_member(expected))


def test_a_solve_that_fails_on_one_device_is_told(four):
    check_failing(four["failing"], "fixed", "RK4 reached NaN or infinity")


@pytest.mark.exhaustive
def test_an_adaptive_solve_that_fails_on_one_device_keeps_none_waiting(launch):
    found = launch("failing_adaptive").result["failing_adaptive"]
    check_failing(found, "adaptive", "Tsit5 took max_steps=16 steps")


def test_an_error_on_one_device_is_an_update_that_all_of_them_skip(four):
    assert four["skipping"] == {"skipped": 1, "finite": True}


def test_what_cannot_be_shared_out_is_refused():
    with pytest.raises(ValueError, match=r"members expected a divisor of the 1 devices, got 2"):
        device_mesh(members=2)
    mesh = jax.sharding.AbstractMesh((2, 4), ("members", "data"))
    with pytest.raises(ValueError, match=r"batch_size expected a multiple of the 4 devices .* 6"):
        Layout(mesh, 6, 2)
    with pytest.raises(ValueError, match=r"the number of members expected a multiple of the 2 "):
        Layout(mesh, 8, 3)
    with pytest.raises(ValueError, match="expected the axes members and data"):
        Layout(jax.sharding.AbstractMesh((2,), ("x",)), 8, None)
    assert agree(3, True) == (3, 1)
