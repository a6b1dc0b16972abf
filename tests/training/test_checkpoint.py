"""Checkpoints that are damaged, foreign, or could not be written."""

import contextlib
import gc
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import DATA, assert_identical, noisy, quadratic, run, start, zeros

import jaxvae
from jaxvae.training import (
    Checkpoints,
    chosen_params,
    export_params,
    fit,
    import_params,
    initial_state,
    with_average,
)

# After a failure, what else orbax was reading or writing complains once more when it ends.
pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
OPTIMISER = optax.adam(1e-2)


@pytest.fixture(autouse=True)
def let_complaints_come_now():
    yield
    gc.collect()


def states(count):
    """The states of consecutive steps."""
    kept = []
    run(
        quadratic, zeros, DATA, key=jax.random.key(0), optimiser=OPTIMISER, num_steps=count,
        log_every=1, held_out=DATA[:2], keep_best=True,
        callbacks=[lambda state, line: kept.append(jax.tree.map(jnp.copy, state))],
    )  # fmt: skip
    return kept


@pytest.fixture(scope="module")
def three(quick_compilation):
    return states(3)


def save_all(folder, kept, **options):
    with Checkpoints(folder, **options) as checkpoints:
        for state in kept:
            checkpoints.save(state)


def files_of(step: Path) -> list[Path]:
    return sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size > 0)


def test_a_restored_state_is_the_saved_one_with_its_best_parameters(tmp_path, three):
    save_all(tmp_path, three)
    with Checkpoints(tmp_path) as checkpoints:
        assert_identical(checkpoints.restore(three[0]), three[2])
        params = checkpoints.restore_params(three[0].params, "best")
    np.testing.assert_array_equal(params, chosen_params(three[2], "best"))


@pytest.mark.parametrize("keep", [1, 2])
def test_only_the_newest_stay(tmp_path, three, keep):
    save_all(tmp_path, three, keep=keep)
    steps = sorted(int(path.name) for path in tmp_path.iterdir())
    assert steps == [1, 2, 3][-keep:]


HARMS = ("truncate", "flip", "remove")


def damage(victim, harm):
    content = bytearray(victim.read_bytes())
    middle = len(content) // 2
    if harm == "truncate":
        victim.write_bytes(content[:middle])
    elif harm == "flip":
        content[middle] ^= 0xFF
        victim.write_bytes(content)
    else:
        victim.unlink()


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.exhaustive) for first in (1, 2))]
)
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_it_taken(
    tmp_path, three, first, capsys
):
    """Every file is damaged, in one of the ways in turn."""
    save_all(tmp_path / "all", three)
    arrays = [path for path in files_of(tmp_path / "all" / "3") if "/d/" in path.as_posix()]
    assert arrays
    for number, _ in enumerate(arrays):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "all", folder)
        harm = HARMS[(first + number) % len(HARMS)]
        damage(folder / arrays[number].relative_to(tmp_path / "all"), harm)
        with Checkpoints(folder) as checkpoints:
            restored = checkpoints.restore(three[0])
        told = capsys.readouterr().err
        # A byte may be one that means nothing; then the newest is whole, and nothing is told.
        if "checkpoint of step 3" in told:
            assert_identical(restored, three[1])
        else:
            assert_identical(restored, three[2])


def test_damage_to_the_arrays_themselves_is_seen(tmp_path, three, monkeypatch, capsys):
    """Whatever the storage says, arrays that are not those that were saved are refused."""
    from jaxvae.training.runs import checkpoint

    save_all(tmp_path, three)
    honest = checkpoint.digest
    wrong = three[2].params

    def digest(tree):
        same = jax.tree.structure(tree) == jax.tree.structure(wrong) and np.array_equal(tree, wrong)
        return "0" if same else honest(tree)

    monkeypatch.setattr(checkpoint, "digest", digest)
    with Checkpoints(tmp_path) as checkpoints:
        assert_identical(checkpoints.restore(three[0]), three[1])
    assert "the arrays of params are not those that were saved" in capsys.readouterr().err


def test_without_a_good_checkpoint_every_fault_is_listed(tmp_path, three):
    save_all(tmp_path, three, keep=2)
    for step in tmp_path.iterdir():
        shutil.rmtree(step / "params")
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(ValueError, match=r"found none that can be read: step 3: .*; step 2: "),
    ):
        checkpoints.restore(three[0])


def test_a_checkpoint_of_another_model_is_refused(tmp_path, three):
    save_all(tmp_path, three)
    other = initial_state(start, OPTIMISER, jax.random.key(0), keep_best=True)
    for folder, message in {
        tmp_path: "expected a checkpoint of this model",
        tmp_path / "none": "found none; train first",
    }.items():
        with Checkpoints(folder) as checkpoints, pytest.raises(ValueError, match=message):
            checkpoints.restore(other)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs more rights")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_and_loses_nothing_that_was_saved(small_disk, three):
    save_all(small_disk / "run", three[:1])
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(1024))
    with pytest.raises(ValueError, match=r"could not write a checkpoint into .*disk"):
        save_all(small_disk / "run", three[1:2])
    filler.unlink()
    with Checkpoints(small_disk / "run") as checkpoints:
        assert_identical(checkpoints.restore(three[0]), three[0])


train = partial(
    fit, noisy, data=DATA, optimiser=with_average(OPTIMISER, 0.9), batch_size=4, progress=False,
    held_out=DATA[:3], keep_best=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(quick_compilation):
    return train(start, key=jax.random.key(0), num_steps=20, log_every=5)


def check_cut(whole, folder, cut, log_every):
    begun = train(start, key=jax.random.key(0), num_steps=cut, log_every=log_every)
    save_all(folder, [begun.state])
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(begun.state)
        average = checkpoints.restore_params(begun.params, "average")
    assert_identical(average, chosen_params(begun.state, "average"))
    resumed = train(restored, num_steps=20, log_every=5)
    assert_identical(resumed.state[:4], whole.state[:4])


def test_a_state_from_the_disk_resumes_bit_for_bit(whole, tmp_path):
    check_cut(whole, tmp_path, 7, 4)


@pytest.mark.exhaustive
@settings(max_examples=10, deadline=None)
@given(cut=st.integers(1, 19), log_every=st.integers(1, 20))
def test_a_state_from_the_disk_resumes_wherever_it_was_cut(whole, tmp_path_factory, cut, log_every):
    check_cut(whole, tmp_path_factory.mktemp("cut"), cut, log_every)


def test_parameters_alone_survive_the_way_through_a_file(tmp_path):
    params = jaxvae.Params(
        {"w": jnp.arange(6.0).reshape(2, 3)}, (jnp.ones(2, jnp.bfloat16), jnp.float32(3.0))
    )
    path = tmp_path / "params.safetensors"
    export_params(path, params)
    assert_identical(import_params(path, jax.eval_shape(lambda: params)), params)
    with pytest.raises(ValueError, match="which exists"):
        export_params(path, params)
    other = params._replace(generative={"w": jnp.zeros((3, 2)), "b": jnp.zeros(1)})
    with pytest.raises(ValueError, match=r"generative.b: expected .*\[1\], got nothing; .*w: exp"):
        import_params(path, other)
    with pytest.raises(ValueError, match="expected a safetensors file"):
        import_params(tmp_path / "none", params)
    (tmp_path / "junk").write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="expected a safetensors file"):
        import_params(tmp_path / "junk", params)
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match=r"expected parameters of jaxvae's format 1"):
        import_params(tmp_path / "foreign", params)


def test_the_steps_of_a_damaged_checkpoint_are_saved_again(tmp_path, three):
    save_all(tmp_path, three)
    shutil.rmtree(tmp_path / "3" / "params")
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.restore(three[0])
        assert checkpoints.latest_step == 2
        checkpoints.save(three[2])
    with Checkpoints(tmp_path) as checkpoints:
        assert_identical(checkpoints.restore(three[0]), three[2])
