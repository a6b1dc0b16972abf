import json
import os
import pickle
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxvae.data import ArrayRecords, blocks, stream, write_array_records

fresh_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)


def example_rows(count=30):
    generator = np.random.default_rng(0)
    return {
        "image": generator.integers(0, 256, (count, 4, 3), dtype=np.uint8),
        "label": np.arange(count, dtype=np.int32),
        "weight": generator.normal(size=count),
    }


def part(rows, which):
    return jax.tree.map(lambda array: array[which], rows)


@pytest.fixture
def written(tmp_path):
    write_array_records(tmp_path / "rows.array_record", example_rows())
    return tmp_path / "rows.array_record"


def new_path(folder, name="rows"):
    number = sum(1 for _ in folder.iterdir())
    return folder / f"{name}{number}.array_record"


@fresh_folder
@given(
    st.sampled_from(["?", "u1", "<i2", ">i4", "<f2", "<f4", ">f8", "<c8"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6))
    ),
    st.booleans(),
    st.data(),
)
def test_what_is_read_is_what_was_written(tmp_path, array, compress, data):
    path = new_path(tmp_path)
    write_array_records(path, array, compress=compress)
    source = ArrayRecords(path)
    assert len(source) == len(array)
    indices = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), max_size=9)), np.int64)
    np.testing.assert_array_equal(source.gather(indices), array[indices])
    little = array.dtype.newbyteorder("<")
    assert source.gather(indices).dtype == little
    assert source.gather(indices).flags.writeable  # a transform may work in place
    np.testing.assert_array_equal(source[0], array[0])


def test_a_dict_keeps_its_fields(written):
    source, expected = ArrayRecords(written), example_rows()
    indices = np.array([3, 29, 0, 3])
    got = source.gather(indices)
    assert list(got) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array[indices], strict=True)
        assert got[name].flags.c_contiguous
        assert got[name].flags.writeable
        np.testing.assert_array_equal(source[7][name], array[7])


def test_chunks_are_written_one_after_another_without_being_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxvae.data.array_records._CHUNK_BYTES", 40)
    alive = []

    def chunks():
        for start in range(0, 30, 10):
            alive.append(start)
            yield part(example_rows(), slice(start, start + 10))

    lazy = chunks()
    write_array_records(tmp_path / "a", lazy)
    write_array_records(tmp_path / "b", example_rows())
    assert alive == [0, 10, 20]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


def test_several_files_are_one_source(tmp_path):
    rows = example_rows()
    for name, which in (("a", slice(0, 7)), ("b", slice(7, 8)), ("c", slice(8, 30))):
        write_array_records(tmp_path / name, part(rows, which))
    source = ArrayRecords([tmp_path / name for name in "abc"])
    indices = np.random.default_rng(1).permutation(30)
    jax.tree.map(
        np.testing.assert_array_equal,
        source.gather(indices),
        part(rows, indices),
    )


def test_files_with_different_fields_are_refused(tmp_path, written):
    write_array_records(tmp_path / "other", example_rows()["image"])
    with pytest.raises(ValueError, match=r"the same fields, got .*label.* and .*/other$"):
        ArrayRecords([written, tmp_path / "other"])
    with pytest.raises(ValueError, match="at least one file"):
        ArrayRecords([])


def test_it_streams_and_survives_pickling(written):
    source = ArrayRecords(written)
    source.gather(np.array([1]))  # has an open file, which cannot be pickled
    copy = pickle.loads(pickle.dumps(source))
    with blocks(stream(copy), batch_size=5, first_step=0, block_steps=6, threads=2) as reader:
        block = next(reader)
    np.testing.assert_array_equal(np.sort(block["label"].ravel()), np.arange(30))
    np.testing.assert_array_equal(block["image"], example_rows()["image"][block["label"]])


@pytest.mark.parametrize("index", [-1, 30])
def test_a_row_outside_is_an_index_error(written, index):
    with pytest.raises(IndexError, match=f"from 0 to 29, got {index}"):
        ArrayRecords(written)[index]
    assert len(list(ArrayRecords(written))) == 30


def test_opening_reads_nothing_but_the_sidecar(written):
    written.write_bytes(bytes(written.stat().st_size))
    source = ArrayRecords(written)
    assert len(source) == 30
    with pytest.raises(ValueError, match=r"rows\.array_record: expected 30 rows of 24 bytes"):
        source[0]


def is_right_or_refused(path):
    """Whether a file gives the rows that were written, or a ValueError that names it."""
    expected = example_rows()
    try:
        source = ArrayRecords(path)
        got = source.gather(np.arange(len(source)))
    except ValueError as fault:
        return path.name in str(fault)
    return all(np.array_equal(got[name], expected[name]) for name in expected)


@fresh_folder
@given(st.data())
def test_a_file_that_is_cut_off_is_refused_by_name(written, data):
    whole = written.read_bytes()
    try:
        written.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(ValueError, match=r"rows\.array_record: expected \d+ bytes, .* got \d+"):
            ArrayRecords(written)
    finally:
        written.write_bytes(whole)


@fresh_folder
@given(st.data())
def test_a_file_with_wrong_bytes_gives_the_right_rows_or_is_refused_by_name(written, data):
    whole = written.read_bytes()
    content = bytearray(whole)
    # Most of a small file is padding: aim at what is not.
    filled = np.flatnonzero(np.frombuffer(whole, np.uint8))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.sampled_from(filled.tolist()))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        written.write_bytes(bytes(content))
        assert is_right_or_refused(written)
    finally:
        written.write_bytes(whole)


@fresh_folder
@given(st.data())
def test_a_sidecar_that_is_cut_off_is_refused_by_name(written, data):
    beside = written.with_name("rows.array_record.json")
    whole = beside.read_text()
    try:
        beside.write_text(whole[: data.draw(st.integers(0, len(whole) - 2))])
        with pytest.raises(ValueError, match=r"rows\.array_record\.json: expected what"):
            ArrayRecords(written)
    finally:
        beside.write_text(whole)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"rows": 29}, "expected 29 rows of 24 bytes each, got 30 rows"),
        ({"rows": True}, "counts expected"),
        ({"rows": -1}, "counts expected"),
        ({"version": 2}, "of version 2"),
        ({"format": "other"}, "got other"),
        ({"named": False}, "counts expected"),
        ({"fields": []}, "numbers expected"),
        ({"fields": [{"name": "x", "dtype": "|O", "shape": []}]}, "numbers expected"),
        ({"fields": [{"name": "x", "dtype": "u1", "shape": [-2]}]}, "damaged"),
        ({"fields": [{"name": "x", "dtype": "u1", "shape": [23]}]}, "row 4 of 24 bytes, not 23"),
        ({"fields": 3}, "damaged"),
        ({"file_bytes": 7}, "expected 7 bytes"),
    ],
)
def test_a_sidecar_that_disagrees_is_refused(written, change, fault):
    beside = written.with_name("rows.array_record.json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **change}))
    with pytest.raises(ValueError, match=rf"rows\.array_record.*{fault}"):
        ArrayRecords(written)[4]


@pytest.mark.parametrize("missing", ["rows.array_record", "rows.array_record.json"])
def test_a_missing_file_is_named(written, missing):
    os.remove(written.with_name(missing))
    with pytest.raises(ValueError, match=rf"found no file at .*/{missing}$"):
        ArrayRecords(written)


def test_nothing_is_overwritten(written):
    before = written.read_bytes()
    unread = iter([np.zeros((2, 2))])
    with pytest.raises(ValueError, match=r"rows\.array_record exists"):
        write_array_records(written, unread)
    assert len(list(unread)) == 1  # refused before the work, not after
    os.remove(written)
    with pytest.raises(ValueError, match=r"rows\.array_record\.json exists"):
        write_array_records(written, np.zeros((2, 2)))
    written.write_bytes(before)
    assert len(ArrayRecords(written)) == 30


def test_a_writing_that_fails_leaves_nothing(tmp_path):
    def chunks():
        yield np.zeros((5, 2))
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="fire"):
        write_array_records(tmp_path / "rows", chunks())
    assert list(tmp_path.iterdir()) == []


def test_the_file_appears_when_it_is_complete_and_the_sidecar_after_it(tmp_path, monkeypatch):
    seen, rename = [], os.rename

    def watched(source, target):
        rename(source, target)
        seen.append((Path(target).name, sorted(p.name for p in tmp_path.glob("rows*"))))

    monkeypatch.setattr(os, "rename", watched)
    write_array_records(tmp_path / "rows", np.zeros((5, 2)))
    assert seen == [("rows", ["rows"]), ("rows.json", ["rows", "rows.json"])]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "rows.json"]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (np.zeros((0, 3)), "at least one row"),
        ([], "at least one row"),
        (np.zeros((3, 0)), "at least one value"),
        (np.float64(1), "one example a row"),
        (np.array([{}, {}]), "booleans, integers or floats"),
        (np.array(["a", "b"]), "booleans, integers or floats"),
        ({"a": np.zeros(3), "b": np.zeros(4)}, "equally many rows"),
        ({}, "names for its arrays"),
        ({"": np.zeros(3)}, "names for its arrays"),
        ({"a": {"b": np.zeros(3)}}, "flat dicts"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], "chunks with the same fields"),
        ([np.zeros((2, 3)), np.zeros((2, 3), np.float32)], "chunks with the same fields"),
        ([{"a": np.zeros(2)}, {"b": np.zeros(2)}], "chunks with the same fields"),
    ],
)
def test_what_is_no_rows_is_refused_and_leaves_nothing(tmp_path, rows, fault):
    with pytest.raises(ValueError, match=fault):
        write_array_records(tmp_path / "rows", rows)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"to write rows to, .*/absent is not one"):
        write_array_records(tmp_path / "absent" / "rows", np.zeros((2, 2)))
