import numpy as np
import pytest

from jaxvae.data import Dataset, Split, binarise


def grey(rows, level=0.3):
    return Split(np.full((rows, 4, 4), level, np.float32), np.arange(rows, dtype=np.int32))


@pytest.fixture
def dataset():
    return Dataset("flat", grey(4000), grey(4000), grey(4000))


def splits(dataset):
    return dataset.train, dataset.validation, dataset.test


def test_pixels_are_zeros_and_ones_with_the_grey_value_as_their_mean(dataset):
    for split in splits(binarise(dataset, seed=0)):
        assert set(np.unique(split.inputs)) == {0.0, 1.0}
        assert split.inputs.dtype == np.float32
        # Four standard errors of the mean of each pixel over 4000 rows.
        error = np.sqrt(0.3 * 0.7 / 4000)
        assert np.abs(split.inputs.mean(axis=0) - 0.3).max() < 4 * error


def test_pixels_are_drawn_independently(dataset):
    pixels = binarise(dataset, seed=0).train.inputs.reshape(4000, 16)
    correlation = np.corrcoef(pixels, rowvar=False)[np.triu_indices(16, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(4000)


def test_black_stays_black_and_white_stays_white():
    dataset = Dataset("extreme", grey(50, 0.0), None, grey(50, 1.0))
    binary = binarise(dataset, seed=0)
    assert binary.train.inputs.max() == 0
    assert binary.test.inputs.min() == 1
    assert binary.validation is None


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(dataset):
    first, same, other = (binarise(dataset, seed=seed) for seed in (1, 1, 2))
    for a, b, c in zip(splits(first), splits(same), splits(other), strict=True):
        np.testing.assert_array_equal(a.inputs, b.inputs)
        assert not np.array_equal(a.inputs, c.inputs)


def test_parts_are_drawn_from_different_streams(dataset):
    train, validation, test = (split.inputs for split in splits(binarise(dataset, seed=0)))
    # Two independent pixels agree with probability 0.58; from one stream they would always agree.
    for a, b in ((train, validation), (train, test), (validation, test)):
        assert np.mean(a == b) < 0.6


def test_the_record_says_what_was_done_and_labels_stay(dataset):
    binary = binarise(dataset, seed=7)
    assert (binary.name, binary.binarisation) == ("flat", "static, seed 7")
    np.testing.assert_array_equal(binary.train.labels, dataset.train.labels)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_values_outside_the_unit_interval_are_refused(dataset, part, value):
    images = getattr(dataset, part).inputs.copy()
    images[1, 2, 3] = value
    spoilt = dataset._replace(**{part: Split(images)})
    with pytest.raises(ValueError, match=rf"flat {part}: expected values in \[0, 1\]"):
        binarise(spoilt, seed=0)


@pytest.mark.parametrize("done", ["static, seed 3", "fixed (Larochelle)"])
def test_what_is_binarised_is_not_binarised_again(dataset, done):
    with pytest.raises(ValueError, match="expected grey values, got a binarisation: "):
        binarise(dataset._replace(binarisation=done), seed=0)
