"""The IDX format of the MNIST files, and the data sets that come in it."""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxvae.data.dataset import Dataset, as_split
from jaxvae.data.sources import KNOWN, Original, Source, check_content

_UINT8 = 0x08
_MOST_AXES = 64


def read_idx(content: bytes, name: str) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of bytes.

    The file is two zero bytes, the type (8 for uint8), the number of axes $r$, then $r$ sizes of
    four bytes each, then the values with the last axis running fastest.

    Args:
        content: the uncompressed file.
        name: what to call the file in messages.

    Returns:
        The array, a read-only view of ``content``.

    Raises:
        ValueError: if the content is not exactly one such array.

    Example:
        >>> from jaxvae.data import read_idx
        >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), "three")
        array([7, 8, 9], dtype=uint8)
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(
            f"{name}: expected an IDX file, which begins with two zero bytes, a type and a number "
            f"of axes, got {content[:4].hex(' ') or 'nothing'}; get the file again"
        )
    kind, rank = content[2], content[3]
    if kind != _UINT8:
        raise ValueError(
            f"{name}: expected IDX values of type 0x08 (uint8), got 0x{kind:02x}; "
            "save other types as FILE.npy"
        )
    if not 1 <= rank <= _MOST_AXES:
        raise ValueError(f"{name}: expected an IDX file of 1 to {_MOST_AXES} axes, got {rank}")
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(
            f"{name}: expected an IDX header of {start} bytes for {rank} axes, the file ends after "
            f"{len(content)}; get it again"
        )
    shape = struct.unpack(f">{rank}I", content[4:start])
    _check_size(shape, len(content) - start, name)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _check_size(shape: tuple[int, ...], got: int, name: str) -> None:
    # Against the bytes that are there, before an array of the claimed size is asked for.
    expected = math.prod(shape)
    if expected == 0:
        raise ValueError(f"{name}: expected an IDX file with values, its header says {shape}")
    if got != expected:
        fault = "it is cut off" if got < expected else f"{got - expected} bytes follow the values"
        raise ValueError(
            f"{name}: the IDX header says {shape}, so {expected} values, got {got}: {fault}; "
            "get the file again"
        )


def read_idx_set(
    source: Source, paths: Sequence[Path], known: Sequence[Original] = KNOWN
) -> Dataset:
    """Read the four files of MNIST or of a set in its format.

    Args:
        source: the data set; its originals are images and labels for training, then for testing.
        paths: the files, in that order.
        known: the files that are recognised when they lie in the wrong place.

    Raises:
        ValueError: if a file is damaged or is not what its name promises.
    """
    train_images, train_labels, test_images, test_labels = (
        _read(path, original, known) for path, original in zip(paths, source.originals, strict=True)
    )
    return Dataset(
        source.name,
        train=as_split(train_images, train_labels, f"{source.name} train"),
        validation=None,
        test=as_split(test_images, test_labels, f"{source.name} test"),
    )


def _read(path: Path, original: Original, known: Sequence[Original]) -> UInt8[np.ndarray, "..."]:
    content = _decompress(path)
    array = read_idx(content, str(path))
    check_content(content, original, str(path), known)
    return array


def _decompress(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except EOFError as fault:
        raise ValueError(f"{path}: the gzip file is cut off; get it again") from fault
    except (gzip.BadGzipFile, zlib.error) as fault:
        raise ValueError(
            f"{path}: expected a sound gzip file, got {fault}; get it again"
        ) from fault
