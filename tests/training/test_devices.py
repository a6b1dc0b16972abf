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


def popen(folder, steps, *processes, devices=1, dump=None, **variables):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"
        + (f" --xla_dump_to={dump} --xla_dump_hlo_module_re=jit_chunk" if dump else ""),
        **{name: str(value) for name, value in variables.items()},
    }
    command = [sys.executable, SCRIPT, str(folder), str(steps), *map(str, processes)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=SCRIPT.parents[2],
    )  # fmt: skip


def result_of(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    lines = [line for line in out.splitlines() if line.startswith("RESULT")]
    return json.loads(lines[0].removeprefix("RESULT").rsplit(maxsplit=1)[0]) if lines else None


def assert_same(found, expected):
    for name in ("params", "bound", "held_out"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"STREAM": 1}, {"MEMBERS": 4, "GROUPS": 4}, {"MEMBERS": 2, "GROUPS": 1}],
    ids=str,
)
def test_eight_devices_give_what_one_gives(tmp_path, start, options):
    single = start(tmp_path / "one", 12, **options)
    several = start(tmp_path / "eight", 12, devices=8, **options)
    expected, found = result_of(single), result_of(several)
    assert (expected["devices"], found["devices"]) == (1, 8)
    assert_same(found, expected)
    assert found["spread"] == ["('members',)" if "MEMBERS" in options else
                               "()"]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"STREAM": 1}], ids=str)
def test_two_processes_train_and_save_together_and_one_resumes(tmp_path, start, options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    pair = [start(tmp_path / "pair", 7, address, 2, rank, **options) for rank in range(2)]
    whole = start(tmp_path / "whole", 12, **options)
    (first, second), expected = map(result_of, pair), result_of(whole)
    assert first["devices"] == 2
    assert second is None
    resumed = result_of(start(tmp_path / "pair", 12, **options))
    assert resumed["first_step"] > 7
    assert_same(resumed, expected)


def test_each_device_multiplies_its_share_of_the_batch_alone(tmp_path, start):
    result_of(start(tmp_path / "run", 2, devices=8, dump=tmp_path / "dump"))
    (program,) = (tmp_path / "dump").glob("*.cpu_after_optimizations.txt")
    products = re.findall(r"= f32\[(\d+),8\]\S* dot\(", program.read_text())
    # Two of 16 rows in training; the ten held-out rows are everyone's.
    assert set(products) == {"2", "10"}
    assert "all-reduce" in program.read_text()


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
