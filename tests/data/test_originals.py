"""The real files, as far as there is a folder with them."""

import shutil

import numpy as np
import pytest

from jaxvae.data import load

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("name", "train", "test", "mean"),
    [
        ("mnist", MNIST_TRAIN, MNIST_TEST, 0.1307),
        ("fashion_mnist", [6000] * 10, [1000] * 10, 0.2860),
    ],
)
def test_the_sets_have_their_known_sizes_and_labels(data_dir, name, train, test, mean):
    dataset = load(name, data_dir)
    assert dataset.train.inputs.shape == (60000, 28, 28)
    assert dataset.test.inputs.shape == (10000, 28, 28)
    assert np.bincount(dataset.train.labels).tolist() == train
    assert np.bincount(dataset.test.labels).tolist() == test
    assert dataset.train.inputs.mean() == pytest.approx(mean, abs=1e-4)
    assert dataset.train.inputs.max() == 1


def test_binarized_mnist_has_its_official_parts(data_dir):
    dataset = load("binarized_mnist", data_dir)
    sizes = [len(each.inputs) for each in (dataset.train, dataset.validation, dataset.test)]
    means = [each.inputs.mean() for each in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [50000, 10000, 10000]
    assert means == pytest.approx([0.13056, 0.13113, 0.13251], abs=1e-5)
    with pytest.raises(ValueError, match="its own validation part of 10000 rows"):
        load("binarized_mnist", data_dir, validation=5)


def test_the_environment_variable_is_enough(data_dir):
    assert load("mnist").train.labels[:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.parametrize(
    ("there", "instead", "what"),
    [
        ("train-images-idx3-ubyte.gz", "mnist/t10k-images-idx3-ubyte.gz", "test images of MNIST"),
        ("t10k-images-idx3-ubyte.gz", "mnist/t10k-labels-idx1-ubyte.gz", "test labels of MNIST"),
        (
            "t10k-images-idx3-ubyte.gz",
            "fashion_mnist/t10k-images-idx3-ubyte.gz",
            "test images of Fashion-MNIST",
        ),
    ],
)
def test_a_real_file_in_the_wrong_place_is_recognised(data_dir, tmp_path, there, instead, what):
    for file in (data_dir / "mnist").glob("*.gz"):
        shutil.copyfile(file, tmp_path / file.name)
    shutil.copyfile(data_dir / instead, tmp_path / there)
    with pytest.raises(ValueError, match=rf"{there}: expected .* of MNIST, got the {what};"):
        load("mnist", tmp_path)


def test_the_text_of_binarized_mnist_is_read_like_the_packed_file(data_dir, tmp_path):
    packed = load("binarized_mnist", data_dir)
    for part, split in (
        ("train", packed.train),
        ("valid", packed.validation),
        ("test", packed.test),
    ):
        text = np.full((len(split.inputs), 784, 2), ord(" "), np.uint8)
        text[:, :, 0] = split.inputs.reshape(-1, 784) + ord("0")
        text[:, -1, 1] = ord("\n")
        (tmp_path / f"binarized_mnist_{part}.amat").write_bytes(text.tobytes())
    read = load("binarized_mnist", tmp_path)
    np.testing.assert_array_equal(read.train.inputs, packed.train.inputs)
    np.testing.assert_array_equal(read.test.inputs, packed.test.inputs)
