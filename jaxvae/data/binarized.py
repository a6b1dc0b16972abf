"""The fixed binarisation of MNIST by Salakhutdinov & Murray (2008), published by Larochelle."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from jaxvae.data.arrays import read_arrays
from jaxvae.data.convert import as_split
from jaxvae.data.dataset import Dataset
from jaxvae.data.sources import KNOWN, Original, Source
from jaxvae.data.verify import check_content

_SIDE = 28
_PIXELS = _SIDE * _SIDE
_PACKED_PARTS = ("train", "valid", "test")


def read_binarized_set(
    source: Source, paths: Sequence[Path], known: Sequence[Original] = KNOWN
) -> Dataset:
    """Read the three text files, or the one file that holds their pixels as bits.

    Args:
        source: the data set; its originals are the train, validation and test parts.
        paths: the three text files in that order, or the packed file alone.
        known: the files that are recognised when they lie in the wrong place.

    Raises:
        ValueError: if a file is damaged or is not what its name promises.
    """
    if len(paths) == 1:
        names = [f"{paths[0]}, array {part}" for part in _PACKED_PARTS]
        parts = _read_packed(paths[0])
    else:
        names = [str(path) for path in paths]
        parts = [_read_text(path) for path in paths]
    for name, pixels, original in zip(names, parts, source.originals, strict=True):
        check_content(np.packbits(pixels, axis=1).tobytes(), original, name, known)
    train, validation, test = (
        as_split(pixels.reshape(-1, _SIDE, _SIDE), None, name)
        for name, pixels in zip(names, parts, strict=True)
    )
    return Dataset(source.name, train, validation, test, binarisation="fixed (Larochelle)")


def _read_packed(path: Path) -> list[Bool[np.ndarray, "rows 784"]]:
    arrays = read_arrays(path)
    if set(arrays) != set(_PACKED_PARTS):
        raise ValueError(
            f"{path}: expected the arrays {', '.join(_PACKED_PARTS)}, got {', '.join(arrays)}"
        )
    return [_unpack(arrays[part], f"{path}, array {part}") for part in _PACKED_PARTS]


def _unpack(packed: Shaped[np.ndarray, "..."], name: str) -> Bool[np.ndarray, "rows 784"]:
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != _PIXELS // 8:
        raise ValueError(
            f"{name}: expected packed bits, uint8 of shape (rows, {_PIXELS // 8}), "
            f"got {packed.dtype} of shape {packed.shape}"
        )
    return np.unpackbits(packed, axis=1).astype(np.bool_)


def _read_text(path: Path) -> Bool[np.ndarray, "rows 784"]:
    """Read lines of 784 digits 0 or 1, each digit followed by a space or the end of the line."""
    content = path.read_bytes()
    line = 2 * _PIXELS
    if not content or len(content) % line:
        raise ValueError(
            f"{path}: expected lines of {line} bytes, got {len(content)} bytes, which is not a "
            "whole number of them: cut off or not the original; get it again"
        )
    text = np.frombuffer(content, np.uint8).reshape(-1, _PIXELS, 2)
    digits, separators = text[:, :, 0], text[:, :, 1]
    sound = (
        np.all((digits == ord("0")) | (digits == ord("1")))
        and np.all(separators[:, :-1] == ord(" "))
        and np.all(separators[:, -1] == ord("\n"))
    )
    if not sound:
        raise ValueError(
            f"{path}: expected {_PIXELS} digits 0 or 1 a line with single spaces between them, "
            "got other characters; get it again"
        )
    return digits == ord("1")
