import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxvae.data import read_idx

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
