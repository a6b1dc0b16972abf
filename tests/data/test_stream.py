import gc
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tfds import prepare

from jaxvae.data import Rows, Stream, blocks, steps_per_epoch, stream


class OneByOne:
    """Examples (row, 2 * row), through ``source[i]`` alone."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"row": np.int64(index), "pair": np.array([index, 2 * index], np.float32)}


class ByList(OneByOne):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


def arrays(count):
    return Rows(
        {
            "row": np.arange(count),
            "pair": np.stack([np.arange(count), 2 * np.arange(count)], 1).astype(np.float32),
        }
    )


def rows(source, steps, *, batch_size, first_step=0, block_steps=1, **arguments):
    """The rows of the first ``steps`` steps, shape (steps, batch)."""
    data = source if isinstance(source, Stream) else stream(source)
    taken = []
    with blocks(
        data,
        batch_size=batch_size,
        first_step=first_step,
        block_steps=block_steps,
        **arguments,
    ) as reader:
        while len(taken) < steps:
            block = next(reader)
            assert block["row"].shape[0] == block_steps
            np.testing.assert_array_equal(block["pair"][..., 1], 2 * block["row"])
            taken.extend(block["row"])
    return np.stack(taken[:steps])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.data())
def test_every_epoch_visits_distinct_rows_and_a_whole_one_each_once(count, data):
    batch = data.draw(st.integers(1, count))
    length = steps_per_epoch(count, batch)
    taken = rows(arrays(count), 3 * length, batch_size=batch, threads=0)
    for epoch in taken.reshape(3, -1):
        assert len(set(epoch.tolist())) == length * batch == count - count % batch
        assert set(epoch.tolist()) <= set(range(count))


def test_epochs_and_seeds_have_different_orders():
    first, second = rows(arrays(50), 10, batch_size=10).reshape(2, 50)
    other = rows(stream(arrays(50), seed=1), 5, batch_size=10).reshape(50)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.arange(50))


@settings(deadline=None, max_examples=40)
@given(
    first=st.integers(0, 40),
    length=st.integers(1, 9),
    threads=st.integers(0, 3),
    seed=st.integers(0, 5),
    kind=st.sampled_from([OneByOne, ByList, arrays]),
)
def test_a_batch_is_a_function_of_the_seed_and_the_step_alone(first, length, threads, seed, kind):
    one_by_one = rows(stream(arrays(23), seed=seed), 60, batch_size=4, threads=0)
    otherwise = rows(
        stream(kind(23), seed=seed),
        20,
        batch_size=4,
        first_step=first,
        block_steps=length,
        threads=threads,
    )
    np.testing.assert_array_equal(otherwise, one_by_one[first : first + 20])


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(0, 30))
def test_the_shares_of_the_processes_make_up_the_batch(processes, first):
    def share(index, count):
        return rows(
            arrays(50),
            6,
            batch_size=12,
            first_step=first,
            block_steps=3,
            threads=0,
            process_index=index,
            process_count=count,
        )

    shares = [share(index, processes) for index in range(processes)]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), share(0, 1))


def test_a_step_far_into_a_run_is_reached_at_once():
    began = time.perf_counter()
    assert rows(arrays(50), 1, batch_size=5, first_step=10**12).shape == (1, 5)
    assert time.perf_counter() - began < 5


def test_a_transform_sees_each_batch_whatever_the_block():
    def centred(batch):
        assert batch["row"].shape == (5,)
        return {"row": batch["row"], "x": batch["pair"][:, 0] - batch["pair"][:, 0].mean()}

    data = stream(arrays(20), transform=centred)
    with (
        blocks(data, batch_size=5, first_step=0, block_steps=6) as long,
        blocks(data, batch_size=5, first_step=0, block_steps=1) as short,
    ):
        block, singles = next(long), [next(short) for _ in range(6)]
    together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *singles)
    jax.tree.map(np.testing.assert_array_equal, block, together)
    np.testing.assert_allclose(block["x"].mean(1), 0, atol=1e-6)


def test_memory_mapped_arrays_are_a_source(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(40).reshape(20, 2))
    source = Rows(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    with blocks(stream(source), batch_size=4, first_step=0, block_steps=5) as reader:
        block = next(reader)
    assert block.shape == (5, 4, 2)
    np.testing.assert_array_equal(np.sort(block[..., 0].ravel()), np.arange(0, 40, 2))


def test_a_grain_dataset_is_a_source():
    import grain

    doubled = grain.MapDataset.range(30).map(
        lambda row: {"row": row, "pair": np.array([row, 2 * row], np.float32)}
    )
    taken = rows(doubled, 6, batch_size=5, block_steps=2)
    np.testing.assert_array_equal(taken, rows(arrays(30), 6, batch_size=5))


def test_a_prepared_set_of_tensorflow_datasets_is_a_source(tmp_path):
    import tensorflow_datasets as tfds

    images, labels = prepare(tmp_path, {"train": 12, "test": 3})["train"]
    source = tfds.data_source("tiny", data_dir=tmp_path)["train"]
    data = stream(
        source, transform=lambda batch: (batch["image"] / np.float32(255), batch["label"])
    )
    with blocks(data, batch_size=4, first_step=0, block_steps=3) as reader:
        pixels, classes = jax.tree.map(lambda leaf: leaf.reshape(12, *leaf.shape[2:]), next(reader))
    order = rows(arrays(12), 3, batch_size=4).ravel()
    np.testing.assert_array_equal(pixels, images[order] / np.float32(255), strict=True)
    np.testing.assert_array_equal(classes, labels[order])


class Corrupt(OneByOne):
    def __getitem__(self, index):
        if index in (7, 11):
            raise OSError(f"checksum of {index}")
        return super().__getitem__(index)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("block_steps", [1, 6])
def test_a_row_that_cannot_be_read_is_named_with_its_step(threads, block_steps):
    taken = rows(arrays(24), 6, batch_size=4)
    step = min(int(np.flatnonzero((taken == bad).any(1))[0]) for bad in (7, 11))
    bad = [int(row) for row in taken[step] if row in (7, 11)]
    message = rf"^step {step}: .* failed at {', '.join(map(str, bad))}: checksum of {bad[0]}$"
    with pytest.raises(ValueError, match=message) as caught:
        rows(Corrupt(24), 6, batch_size=4, block_steps=block_steps, threads=threads)
    assert isinstance(caught.value.__cause__, OSError)


def test_examples_that_do_not_match_are_refused():
    class Ragged(OneByOne):
        def __getitem__(self, index):
            return np.zeros(1 + index % 2)

    class Sparse(OneByOne):
        def __getitem__(self, index):
            return None if index == 3 else np.zeros(2)

    class Short(OneByOne):
        def gather(self, indices):
            return np.zeros((len(indices) - 1, 2))

    for source, fault in (
        (Ragged(8), "same shape"),
        (Sparse(8), "got None"),
        (Short(8), r"\(1, …\), got \(0, 2\)"),
    ):
        with (
            pytest.raises(ValueError, match=fault),
            blocks(stream(source), batch_size=4, first_step=0, block_steps=1) as reader,
        ):
            next(reader), next(reader)


@pytest.mark.parametrize(
    ("transform", "fault"),
    [
        (lambda batch: batch["nothing"], "KeyError|nothing"),
        (lambda batch: batch["pair"].mean(), r"arrays of shape \(4, …\), got \(\)"),
        (lambda batch: None, "no arrays"),
        (lambda batch: np.zeros((4, 1 + batch["row"][0] % 9)), "as at the step before"),
    ],
)
def test_a_transform_that_fails_is_named_with_its_step_and_rows(transform, fault):
    data = stream(arrays(40), transform=transform)
    with (
        pytest.raises(ValueError, match=rf"step \d+: the transform failed at the rows .*{fault}"),
        blocks(data, batch_size=4, first_step=0, block_steps=10) as reader,
    ):
        next(reader)


def grain_threads():
    return [each for each in threading.enumerate() if each.name.startswith("grain-prefetch")]


def ended(seconds=10):
    limit = time.monotonic() + seconds
    while grain_threads() and time.monotonic() < limit:
        time.sleep(0.01)
    return not grain_threads()


@pytest.mark.parametrize("end", ["closed", "dropped", "failed"])
def test_threads_end_with_their_iterator(end):
    assert ended()
    reader = blocks(
        stream(Corrupt(24) if end == "failed" else arrays(24)),
        batch_size=4,
        first_step=0,
        block_steps=6,
        threads=2,
    )
    assert grain_threads()
    if end == "failed":
        with pytest.raises(ValueError, match="checksum"):
            next(reader)
        with pytest.raises(ValueError, match="closed"):
            next(reader)
    elif end == "dropped":
        del reader
        gc.collect()
    else:
        reader.close()
        reader.close()
        with pytest.raises(ValueError, match="closed"):
            next(reader)
    assert ended()


def test_reading_begins_before_it_is_asked_for_and_stays_a_little_ahead():
    class Counting(OneByOne):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            return super().__getitem__(index)

    source = Counting(24)
    with blocks(stream(source), batch_size=4, first_step=0, block_steps=3, threads=1):
        limit = time.monotonic() + 10
        while source.reads < 24 and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(0.05)
        assert source.reads == 2 * 3 * 4


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"batch_size": 0}, "batch_size expected a positive integer, got 0"),
        ({"batch_size": 25}, "expected at least batch_size = 25 rows, got 24"),
        ({"first_step": -1}, "first_step expected"),
        ({"block_steps": 0}, "block_steps expected a positive"),
        ({"threads": -1}, "threads expected"),
        ({"process_count": 0}, "process_count expected a positive"),
        ({"process_count": 3}, "multiple of the 3 processes, got 4"),
        ({"process_count": 2, "process_index": 2}, "process_index expected 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        blocks(
            stream(arrays(24)), **{"batch_size": 4, "first_step": 0, "block_steps": 1, **arguments}
        )


@pytest.mark.parametrize(
    ("source", "arguments", "fault"),
    [
        (iter([1]), {}, "with __len__ and __getitem__, got list_iterator"),
        ({"image": np.zeros((3, 2))}, {}, "wrap arrays in Rows"),
        (OneByOne(0), {}, "at least one example"),
        (OneByOne(3), {"seed": -1}, "seed expected"),
    ],
)
def test_what_is_no_stream_is_refused(source, arguments, fault):
    with pytest.raises(ValueError, match=fault):
        stream(source, **arguments)


def test_a_transform_that_is_no_function_is_refused(without_type_checks):
    with pytest.raises(ValueError, match="transform expected a function"):
        stream(OneByOne(3), transform="scale")


@pytest.mark.parametrize(
    "tree", [{}, np.float32(1), {"a": np.zeros(3), "b": np.zeros(4)}, [np.zeros(3), 1.0]]
)
def test_arrays_that_are_no_rows_are_refused(tree):
    with pytest.raises(ValueError, match="Rows expected"):
        Rows(tree)


def test_a_row_outside_is_an_index_error():
    assert [int(example["row"]) for example in arrays(4)] == [0, 1, 2, 3]
    with pytest.raises(IndexError, match="from 0 to 3, got -1"):
        arrays(4)[-1]


def test_importing_jaxvae_imports_neither_grain_nor_array_record():
    code = "import sys, jaxvae.data; print({'grain', 'array_record'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
