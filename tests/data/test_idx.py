import gzip
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxvae.data import read_idx
from jaxvae.data.idx import read_idx_set
from jaxvae.data.sources import in_folder

# A busy machine is no fault of the code.
UNHURRIED = settings(deadline=None)
ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=5, max_side=4))


def encode(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def is_read_or_refused(content):
    try:
        read = read_idx(content, "some-file")
    except ValueError as fault:
        return "some-file" in str(fault)
    return encode(read) == content


@UNHURRIED
@given(ARRAYS)
def test_an_array_of_any_rank_comes_back(array):
    np.testing.assert_array_equal(read_idx(encode(array), "f"), array, strict=True)


@UNHURRIED
@given(ARRAYS, st.data())
def test_a_file_cut_off_anywhere_is_refused_by_name(array, data):
    content = encode(array)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError, match="some-file"):
        read_idx(content[:length], "some-file")


@UNHURRIED
@given(ARRAYS, st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_refused_by_name(array, more):
    with pytest.raises(ValueError, match=rf"some-file: .* {len(more)} bytes follow the values"):
        read_idx(encode(array) + more, "some-file")


@UNHURRIED
@given(ARRAYS, st.data())
def test_corrupted_bytes_give_what_they_say_or_are_refused_by_name(array, data):
    content = bytearray(encode(array))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert is_read_or_refused(bytes(content))


@UNHURRIED
@given(st.binary(max_size=64).map(lambda rest: b"\0\0\x08" + rest))
def test_any_bytes_after_the_magic_give_what_they_say_or_are_refused_by_name(content):
    assert is_read_or_refused(content)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "two zero bytes.*nothing"),
        (b"\x1f\x8b\x08\x00rest", "two zero bytes.*1f 8b 08 00"),
        (b"\0\0\x0d\x01" + bytes(8), "type 0x08.*0x0d"),
        (b"\0\0\x08\x00\x05", "1 to 64 axes, got 0"),
        (b"\0\0\x08\xff" + bytes(4 * 255), "1 to 64 axes, got 255"),
        (b"\0\0\x08\x03" + bytes(5), "header of 16 bytes for 3 axes, the file ends after 9"),
        (b"\0\0\x08\x02" + bytes(4) + b"\0\0\0\x05", r"with values, its header says \(0, 5\)"),
        (b"\0\0\x08\x04" + b"\xff" * 16 + b"123", rf"{(2**32 - 1) ** 4} values, got 3: it is cut"),
    ],
)
def test_each_fault_of_a_header_is_said(content, fault):
    with pytest.raises(ValueError, match=f"^the-file: .*{fault}"):
        read_idx(content, "the-file")


def test_a_header_that_overflows_64_bits_is_refused_and_not_wrapped_round():
    shape = (2**16, 2**16, 2**16, 2**16)
    assert math.prod(shape) % 2**64 == 0
    header = b"\0\0\x08\x04" + b"".join(size.to_bytes(4, "big") for size in shape)
    with pytest.raises(ValueError, match="cut off"):
        read_idx(header, "the-file")


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
