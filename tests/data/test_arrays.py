import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvae.data import load
from jaxvae.data.arrays import read_arrays


def rows(count, *event):
    return np.arange(count * np.prod(event), dtype=np.float32).reshape(count, *event)


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def npy(tmp_path):
    def write(array):
        np.save(tmp_path / "own.npy", array)
        return str(tmp_path / "own.npy")

    return write


def test_an_array_is_divided_into_nine_tenths_and_a_tenth(npy):
    array = rows(40, 3)
    dataset = load(npy(array))
    assert (dataset.name, len(dataset.train.inputs), len(dataset.test.inputs)) == (
        "own.npy",
        36,
        4,
    )
    together = np.concatenate([dataset.train.inputs, dataset.test.inputs])
    np.testing.assert_array_equal(together[np.argsort(together[:, 0])], array)


def test_the_division_follows_the_seed_alone(npy):
    path = npy(rows(100, 3))
    first, same, other = load(path, seed=3), load(path, seed=3), load(path, seed=4)
    np.testing.assert_array_equal(first.test.inputs, same.test.inputs)
    assert not np.array_equal(first.test.inputs, other.test.inputs)


def test_asking_for_validation_leaves_the_test_part_alone(npy):
    path = npy(rows(100, 3))
    plain, held = load(path), load(path, validation=30)
    np.testing.assert_array_equal(plain.test.inputs, held.test.inputs)
    assert (len(held.train.inputs), len(held.validation.inputs)) == (60, 30)


def test_two_rows_are_enough_and_one_is_not(npy):
    assert len(load(npy(rows(2, 3))).test.inputs) == 1
    with pytest.raises(ValueError, match="two rows"):
        load(npy(rows(1, 3)))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 51], [255, 102]], np.uint8), [[0, 0.2], [1, 0.4]]),
        (np.array([[False, True], [True, True]]), [[0, 1], [1, 1]]),
        (np.array([[-3, 300], [7, 2]], np.int16), [[-3, 300], [7, 2]]),
        (np.array([[0.25, -2], [1e3, 0]], np.float64), [[0.25, -2], [1e3, 0]]),
    ],
)
def test_each_type_is_converted_as_documented(tmp_path, array, expected):
    images = load(save(tmp_path / "own.npz", train=array, test=array)).train.inputs
    np.testing.assert_array_equal(images, np.array(expected, np.float32), strict=True)


def test_a_nameless_array_in_an_npz_file_is_the_rows(tmp_path):
    dataset = load(save(tmp_path / "own.npz", pictures=rows(10, 2, 2)))
    assert dataset.train.inputs.shape == (9, 2, 2)


def test_named_parts_and_labels_are_taken_as_they_are(tmp_path):
    arrays = {"train": rows(6, 2), "validation": rows(3, 2) + 10, "test": rows(2, 2) + 20}
    labels = {f"{part}_labels": np.arange(len(array)) for part, array in arrays.items()}
    dataset = load(save(tmp_path / "own.npz", **arrays, **labels))
    for split, part in zip((dataset.train, dataset.validation, dataset.test), arrays, strict=True):
        np.testing.assert_array_equal(split.inputs, arrays[part])
        np.testing.assert_array_equal(split.labels, labels[f"{part}_labels"])
        assert split.labels.dtype == np.int32


def test_labels_stay_with_their_rows(tmp_path):
    array = rows(50, 1)
    path = save(tmp_path / "own.npz", train=array, train_labels=np.arange(50))
    dataset = load(path, validation=10)
    for split in (dataset.train, dataset.validation, dataset.test):
        np.testing.assert_array_equal(split.inputs[:, 0], split.labels)


def test_own_validation_rows_exclude_others(tmp_path):
    path = save(tmp_path / "own.npz", train=rows(9, 2), validation=rows(2, 2))
    with pytest.raises(ValueError, match="its own validation part of 2 rows, got validation=1"):
        load(path, validation=1)


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.array([[1.0, np.nan], [0, 0]]), "finite"),
        (np.array([[1.0, np.inf], [0, 0]]), "finite"),
        (np.array([[1.0, 1e300], [0, 0]]), "finite in float32"),
        (np.array([{}, None], dtype=object), "Python objects"),
        (np.zeros((0, 3)), "at least one value"),
        (np.zeros((3, 0)), "at least one value"),
        (np.arange(5.0), r"two axes, got shape \(5,\)"),
        (np.float64(1), r"two axes, got shape \(\)"),
        (np.array([["a"], ["b"]]), "booleans, integers or floats, got <U1"),
        (np.ones((2, 2), complex), "got complex128"),
        (np.ones((2, 2), np.uint8), "binary pixels as booleans"),
    ],
)
def test_arrays_that_are_no_examples_are_refused(npy, array, fault):
    with pytest.raises(ValueError, match=rf"own\.npy.*{fault}"):
        load(npy(array))


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (np.arange(3), r"shape \(4,\), got \(3,\)"),
        (np.zeros((4, 10), int), r"got \(4, 10\)"),
        (np.arange(4.0), "integer labels, got float64"),
        (np.arange(4) + 2**31, "within int32"),
    ],
)
def test_labels_that_are_no_labels_are_refused(tmp_path, labels, fault):
    with pytest.raises(ValueError, match=fault):
        load(save(tmp_path / "own.npz", train=rows(4, 2), train_labels=labels))


@pytest.mark.parametrize(
    "names", [("train", "tset"), ("test",), ("x", "y"), ("train", "test_labels")]
)
def test_names_that_mean_nothing_are_refused(tmp_path, names):
    path = save(tmp_path / "own.npz", **{name: rows(4, 2) for name in names})
    with pytest.raises(ValueError, match=rf"own\.npz: expected .* got {', '.join(names)}"):
        load(path)


def test_parts_of_different_shapes_are_refused(tmp_path):
    path = save(tmp_path / "own.npz", train=rows(4, 2), test=rows(4, 3))
    with pytest.raises(ValueError, match=r"one shape in all parts, got train \(2,\), test \(3,\)"):
        load(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"found none at .*absent\.npz"):
        load(str(tmp_path / "absent.npz"))


def test_an_npz_file_without_arrays_is_named(tmp_path):
    zipfile.ZipFile(tmp_path / "own.npz", "w").close()
    with pytest.raises(ValueError, match=r"own\.npz: expected at least one array"):
        load(str(tmp_path / "own.npz"))


def is_read_or_refused(path):
    try:
        arrays = read_arrays(path)
    except ValueError as fault:
        return path.name in str(fault)
    return all(isinstance(array, np.ndarray) for array in arrays.values())


# The file is written anew for every example, so the folder may be shared by them.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data(), st.sampled_from([".npy", ".npz"]))
def test_a_damaged_file_gives_arrays_or_is_refused_by_name(tmp_path, data, suffix):
    path = tmp_path / f"own{suffix}"
    if suffix == ".npy":
        np.save(path, rows(5, 2))
    else:
        np.savez_compressed(path, train=rows(5, 2), test=rows(2, 2))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert is_read_or_refused(path)
