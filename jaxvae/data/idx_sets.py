"""MNIST and the sets in its format."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxvae.data.convert import as_split
from jaxvae.data.dataset import Dataset
from jaxvae.data.idx import read_idx
from jaxvae.data.sources import KNOWN, Original, Source
from jaxvae.data.verify import check_content


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
