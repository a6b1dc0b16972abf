import hashlib

import numpy as np
import pytest

from jaxvae.data import Dataset, Split, binarise
from jaxvae.data.binarisation import read_binarized_set
from jaxvae.data.sources import Original, Source


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


PARTS = ("train", "valid", "test")


def text(pixels):
    return b"".join(b" ".join(b"%d" % bit for bit in row) + b"\n" for row in pixels)


@pytest.fixture
def pixels():
    generator = np.random.default_rng(0)
    rows = zip(PARTS, (6, 4, 5), strict=True)
    return {part: generator.integers(0, 2, (count, 784), dtype=np.uint8) for part, count in rows}


@pytest.fixture
def source(pixels):
    def digest(part):
        return hashlib.sha256(np.packbits(pixels[part], axis=1).tobytes()).hexdigest()

    originals = tuple(Original(f"{p}.amat", f"the {p} part", "", digest(p)) for p in PARTS)
    return Source("tiny", originals, mirrors=(), packed="tiny.npz")


@pytest.fixture
def texts(pixels, tmp_path):
    paths = [tmp_path / f"{part}.amat" for part in PARTS]
    for path, part in zip(paths, PARTS, strict=True):
        path.write_bytes(text(pixels[part]))
    return paths


def pack(path, arrays):
    np.savez(path, **{part: np.packbits(bits, axis=1) for part, bits in arrays.items()})
    return [path]


def read(source, paths):
    return read_binarized_set(source, paths, source.originals)


def test_text_and_packed_files_hold_the_same_images(source, pixels, texts, tmp_path):
    for paths in (texts, pack(tmp_path / "tiny.npz", pixels)):
        dataset = read(source, paths)
        splits = (dataset.train, dataset.validation, dataset.test)
        for split, part in zip(splits, PARTS, strict=True):
            expected = pixels[part].reshape(-1, 28, 28).astype(np.float32)
            np.testing.assert_array_equal(split.inputs, expected, strict=True)
            assert split.labels is None
        assert dataset.binarisation == "fixed (Larochelle)"


@pytest.mark.parametrize("length", [0, 1, 1567, 3000])
def test_a_text_file_cut_off_is_named(source, texts, length):
    texts[1].write_bytes(texts[1].read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"valid\.amat: .*got {length} bytes"):
        read(source, texts)


@pytest.mark.parametrize(("position", "byte"), [(0, b"2"), (1, b"\t"), (1567, b" "), (1, b"\n")])
def test_a_text_file_with_other_characters_is_named(source, texts, position, byte):
    content = texts[2].read_bytes()
    texts[2].write_bytes(content[:position] + byte + content[position + 1 :])
    with pytest.raises(ValueError, match=r"test\.amat: .*other characters"):
        read(source, texts)


def test_a_changed_pixel_is_noticed(source, texts):
    content = texts[0].read_bytes()
    texts[0].write_bytes((b"1" if content[:1] == b"0" else b"0") + content[1:])
    with pytest.raises(ValueError, match=r"train\.amat: .*corrupted or modified"):
        read(source, texts)


def test_swapped_text_files_are_recognised(source, texts):
    with pytest.raises(ValueError, match="expected the train part, got the valid part"):
        read(source, [texts[1], texts[0], texts[2]])


def test_swapped_packed_arrays_are_recognised(source, pixels, tmp_path):
    swapped = {"train": pixels["train"], "valid": pixels["test"], "test": pixels["valid"]}
    with pytest.raises(ValueError, match="array valid: expected the valid part, got the test part"):
        read(source, pack(tmp_path / "tiny.npz", swapped))


def test_a_packed_file_without_a_part_is_named(source, pixels, tmp_path):
    del pixels["valid"]
    with pytest.raises(ValueError, match=r"tiny\.npz: expected the arrays train, valid, test"):
        read(source, pack(tmp_path / "tiny.npz", pixels))


def test_pixels_that_are_not_packed_are_refused(source, pixels, tmp_path):
    np.savez(tmp_path / "tiny.npz", **pixels)
    with pytest.raises(ValueError, match=r"array train: expected packed bits.*\(6, 784\)"):
        read(source, [tmp_path / "tiny.npz"])
