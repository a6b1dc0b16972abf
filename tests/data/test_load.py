import hashlib
import subprocess
import sys

import numpy as np
import pytest

from jaxvae.data import load


def identities(split):
    return {image.tobytes() for image in split.inputs}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_digits_have_1500_rows_to_train_and_297_to_test(digits):
    assert digits.train.inputs.shape == (1500, 8, 8)
    assert digits.test.inputs.shape == (297, 8, 8)
    for split in (digits.train, digits.test):
        assert split.inputs.dtype == np.float32
        assert (split.inputs.min(), split.inputs.max()) == (0, 1)
    both = np.concatenate([digits.train.labels, digits.test.labels])
    assert np.bincount(both).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_test_digits_are_the_same_for_every_seed_and_release(digits):
    other = load("digits", seed=5, validation=100)
    np.testing.assert_array_equal(other.test.inputs, digits.test.inputs)
    digest = hashlib.sha256(digits.test.labels.astype("<i4").tobytes()).hexdigest()
    assert digest.startswith("afce0ba6f4c37ef8")


def test_labels_of_digits_belong_to_their_images(digits):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    label_of = dict(zip((i.tobytes() for i in bunch.images), bunch.target, strict=True))
    for image, label in zip(digits.test.inputs, digits.test.labels, strict=True):
        assert label_of[(image.astype(np.float64) * 16).tobytes()] == label


def test_validation_and_train_rows_are_disjoint_and_complementary(digits):
    held = load("digits", validation=400)
    assert (len(held.train.inputs), len(held.validation.inputs)) == (1100, 400)
    train, validation = identities(held.train), identities(held.validation)
    assert not train & validation
    assert train | validation == identities(digits.train)


def test_validation_rows_follow_the_seed_alone():
    first, same, other = (load("digits", validation=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.validation.inputs, same.validation.inputs)
    assert identities(first.validation) != identities(other.validation)


def test_no_validation_part_is_made_unless_asked_for(digits):
    assert digits.validation is None


@pytest.mark.parametrize("count", [-1, 1500, 2000])
def test_an_impossible_number_of_validation_rows_is_refused(count):
    with pytest.raises(ValueError, match=f"between 1 and 1499 of 1500 rows, got {count}"):
        load("digits", validation=count)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed expected an integer of at least 0, got -1"):
        load("digits", validation=5, seed=-1)


@pytest.mark.parametrize("name", ["", "MNIST", "cifar", "table.csv"])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"digits, mnist.*tfds:NAME.*FILE\.npz, got"):
        load(name)


def test_importing_loads_none_of_the_slow_libraries():
    code = (
        "import sys, jaxvae.data; "
        "print([m for m in ('pooch', 'sklearn', 'tensorflow_datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
