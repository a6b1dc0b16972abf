import gzip

import numpy as np
import pytest

from jaxvae.data.fetch import in_folder
from jaxvae.data.idx_sets import read_idx_set


def read(published, folder, *others):
    known = sum((each.source.originals for each in (published, *others)), ())
    return read_idx_set(published.source, in_folder(published.source, folder), known)


def test_sound_files_give_grey_values_between_0_and_1_and_labels(alpha, tmp_path):
    dataset = read(alpha, alpha.write(tmp_path))
    for split, part in ((dataset.train, "train"), (dataset.test, "test")):
        expected = alpha.arrays[f"{part}-images.gz"].astype(np.float64) / 255
        np.testing.assert_allclose(split.inputs, expected, rtol=1e-6)
        assert split.inputs.dtype == np.float32
        np.testing.assert_array_equal(split.labels, alpha.arrays[f"{part}-labels.gz"])
        assert split.labels.dtype == np.int32
    assert (dataset.name, dataset.validation, dataset.binarisation) == ("alpha", None, "none")


def test_files_compressed_anew_are_the_same_files(alpha, tmp_path):
    alpha.write(tmp_path)
    file = tmp_path / "train-images.gz"
    plain = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(plain, compresslevel=1, mtime=12345))
    assert file.read_bytes() != alpha.files["train-images.gz"]
    assert read(alpha, tmp_path).train.inputs.shape == (20, 4, 3)


@pytest.mark.parametrize("missing", [1, 8, 20, 100])
def test_a_truncated_gzip_file_is_named(alpha, tmp_path, missing):
    alpha.write(tmp_path)
    file = tmp_path / "test-images.gz"
    file.write_bytes(file.read_bytes()[:-missing])
    with pytest.raises(ValueError, match=r"test-images\.gz: the gzip file is cut off"):
        read(alpha, tmp_path)


def test_a_file_that_is_not_gzip_is_named(alpha, tmp_path):
    alpha.write(tmp_path)
    (tmp_path / "test-labels.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"test-labels\.gz: expected a sound gzip file"):
        read(alpha, tmp_path)


@pytest.mark.parametrize("position", [20, -6])
def test_a_flipped_bit_in_the_compressed_file_is_noticed(alpha, tmp_path, position):
    alpha.write(tmp_path)
    file = tmp_path / "train-images.gz"
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"train-images\.gz: "):
        read(alpha, tmp_path)


def test_a_changed_pixel_is_noticed(alpha, tmp_path):
    alpha.write(tmp_path)
    file = tmp_path / "train-images.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[-1] ^= 1
    file.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ValueError, match=r"train-images\.gz: .*corrupted or modified.*FILE\.npz"):
        read(alpha, tmp_path)


def test_a_file_shortened_before_compression_is_noticed(alpha, tmp_path):
    alpha.write(tmp_path)
    file = tmp_path / "train-images.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-5]))
    with pytest.raises(ValueError, match=r"train-images\.gz: .*so 240 values, got 235: it is cut"):
        read(alpha, tmp_path)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("train-images.gz", "test-images.gz"),
        ("test-images.gz", "train-images.gz"),
        ("train-images.gz", "train-labels.gz"),
        ("test-labels.gz", "test-images.gz"),
    ],
)
def test_a_renamed_file_is_recognised(alpha, tmp_path, there, instead):
    alpha.write(tmp_path)
    (tmp_path / there).write_bytes(alpha.files[instead])
    with pytest.raises(ValueError, match=rf"{there}: expected {there} of alpha, got {instead}"):
        read(alpha, tmp_path)


def test_the_files_of_another_set_with_the_same_names_are_recognised(alpha, beta, tmp_path):
    beta.write(tmp_path / "alpha")
    with pytest.raises(ValueError, match=r"expected train-images\.gz of alpha, got .* of beta"):
        read(alpha, tmp_path, beta)
