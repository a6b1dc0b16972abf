"""Binary images: pixels drawn once from grey values, and the published binarisation of MNIST."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from jaxvae.data.arrays import read_arrays
from jaxvae.data.dataset import PIXEL_STREAM, Dataset, Split, as_split, random_stream
from jaxvae.data.sources import KNOWN, Original, Source, check_content


def binarise(dataset: Dataset, *, seed: int) -> Dataset:
    r"""Draw each pixel once, $b_i \sim \mathrm{Bernoulli}(x_i)$, in every part.

    The result depends on the seed and on nothing else, so two runs see the same binary images.

    Args:
        dataset: images with values in [0, 1] that have not been binarised.
        seed: of the draws; each part has its own stream.

    Returns:
        The data set with images of zeros and ones.

    Raises:
        ValueError: if the images are binarised already or have values outside [0, 1].

    Reference: Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks.

    Example:
        >>> from jaxvae.data import binarise, load
        >>> binarise(load("digits"), seed=0).binarisation
        'static, seed 0'
    """
    if dataset.binarisation != "none":
        raise ValueError(
            f"{dataset.name} expected grey values, got a binarisation: {dataset.binarisation}; "
            "use it as it is"
        )
    train = _draw(dataset.train, seed, 0, f"{dataset.name} train")
    test = _draw(dataset.test, seed, 1, f"{dataset.name} test")
    validation = dataset.validation
    if validation is not None:
        validation = _draw(validation, seed, 2, f"{dataset.name} validation")
    return Dataset(dataset.name, train, validation, test, f"static, seed {seed}")


def _draw(split: Split, seed: int, part: int, name: str) -> Split:
    grey = split.inputs
    if grey.min() < 0 or grey.max() > 1:
        raise ValueError(
            f"{name}: expected values in [0, 1], got {grey.min():g} to {grey.max():g}; rescale them"
        )
    uniform = random_stream(seed, PIXEL_STREAM, part).random(grey.shape, dtype=np.float32)
    return split._replace(inputs=(uniform < grey).astype(np.float32))


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
