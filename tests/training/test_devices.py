"""Several devices and several processes give what one gives, within float tolerance."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxvae.training import device_mesh
from jaxvae.training.devices import Layout, agree

pytestmark = pytest.mark.usefixtures("quick_compilation")

SCRIPT = Path(__file__).with_name("several_devices.py")


@pytest.fixture
def start():
    """Starts a process; none outlives its test."""
    with contextlib.ExitStack() as stack:

        def begin(*arguments, **options):
            process = stack.enter_context(popen(*arguments, **options))
            stack.callback(process.kill)
            return process

        yield begin


def popen(folder, steps, cases, *processes, devices=1, dump=None):
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    if dump:  # of what is compiled, and nothing may have been before
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        flags += f" --xla_dump_to={dump} --xla_dump_hlo_module_re=jit_chunk"
    command = [sys.executable, SCRIPT, folder, steps, ",".join(cases), *processes]
    return subprocess.Popen(
        list(map(str, command)), env=environment | {"XLA_FLAGS": flags},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=SCRIPT.parents[2],
    )  # fmt: skip


def result_of(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    lines = [line for line in out.splitlines() if line.startswith("RESULT")]
    return json.loads(lines[0].removeprefix("RESULT")) if lines else None


def assert_same(found, expected):
    for name in ("params", "bound", "held_out"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=2e-5)


SPREAD = {
    "plain": "()",
    "stream": "()",
    "members_apart": "('members',)",
    "members_together": "('members',)",
    "solves": "('members',)",
}


def test_eight_devices_give_what_one_gives_and_share_the_work(tmp_path, start):
    several = start(tmp_path / "eight", 12, SPREAD, devices=8, dump=tmp_path / "dump")
    expected, found = result_of(start(tmp_path / "one", 12, SPREAD)), result_of(several)
    for case, spread in SPREAD.items():
        assert (expected[case]["devices"], found[case]["devices"]) == (1, 8)
        assert found[case]["spread"] == [spread]
        assert_same(found[case], expected[case])
    # Two of 16 rows in each device's products of the first run; the ten held-out are everyone's.
    program = min((tmp_path / "dump").glob("*.cpu_after_optimizations.txt")).read_text()
    products = set(re.findall(r"= f32\[(\d+),8\]\S* dot\(", program))
    assert {"2", "10"} <= products
    assert "16" not in products
    assert "all-reduce" in program


def test_two_processes_train_and_save_together_and_one_resumes(tmp_path, start):
    cases = ("plain", "stream")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    pair = [start(tmp_path / "pair", 7, cases, address, 2, rank) for rank in range(2)]
    first, second = map(result_of, pair)
    assert first["plain"]["devices"] == 2
    assert second is None
    whole = start(tmp_path / "whole", 12, cases)
    resumed, expected = result_of(start(tmp_path / "pair", 12, cases)), result_of(whole)
    for case in cases:
        assert resumed[case]["first_step"] > 7
        assert_same(resumed[case], expected[case])


def test_a_solve_that_fails_on_one_device_is_told_and_keeps_none_waiting(tmp_path, start):
    found = result_of(start(tmp_path, 10, ["failing"], devices=4))["failing"]
    assert found["failed_at"] == [-1, 2, -1]
    assert found["skipped"] == 1
    assert "the surrogate was not finite at step" in found["error"]
    assert found["rates"] == [1e5]
    assert found["trace"].startswith("solve: Tsit5 took max_steps=64 steps")


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
