"""A user's own arrays, from FILE.npy or FILE.npz."""

from pathlib import Path

import numpy as np

from jaxvae.data.dataset import TEST_STREAM, Dataset, Split, as_split, hold_out, random_stream

SUFFIXES = (".npy", ".npz")
_PARTS = ("train", "validation", "test")
_NAMES = (*_PARTS, *(f"{part}_labels" for part in _PARTS))


def read_own(path: Path, seed: int) -> Dataset:
    """Read a user's arrays as a data set.

    Args:
        path: FILE.npy with an array of one example a row; or FILE.npz with one such array, or with
            arrays named ``train`` and, as far as there are any, ``validation``, ``test``,
            ``train_labels``, ``validation_labels`` and ``test_labels``.
        seed: of the test part, a tenth of the rows, that is held out where the file has none.

    Raises:
        ValueError: if the file or an array in it is not of that kind.
    """
    arrays = read_arrays(path)
    if len(arrays) == 1 and not set(arrays) & set(_NAMES):
        arrays = {"train": next(iter(arrays.values()))}
    _check_names(arrays, path)
    parts = {part: _part(arrays, part, path) for part in _PARTS if part in arrays}
    _check_events(parts, path)
    train, test = parts["train"], parts.get("test")
    if test is None:
        if len(train.inputs) < 2:
            raise ValueError(f"{path}: expected two rows at least, to hold one out, got one")
        count = max(1, len(train.inputs) // 10)
        train, test = hold_out(train, count, random_stream(seed, TEST_STREAM))
    return Dataset(path.name, train, parts.get("validation"), test)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a .npy or .npz file; the one of a .npy file is called by its path.

    Raises:
        ValueError: if there is no such file, or it is damaged, holds Python objects or nothing.
    """
    if not path.is_file():
        raise ValueError(f"expected a .npy or .npz file, found none at {path}")
    try:
        # numpy.load leaves a damaged .npz file open when it opens the file itself.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {str(path): loaded}
            arrays = {name: loaded[name] for name in loaded.files}
    # Damage shows as one of a dozen exceptions of numpy, zipfile, zlib and tokenize.
    except Exception as fault:
        raise ValueError(
            f"{path}: expected plain arrays as numpy.save or numpy.savez write them, got {fault}; "
            "Python objects are not read, because a pickle can run code"
        ) from fault
    if not arrays:
        raise ValueError(f"{path}: expected at least one array, got an empty .npz file")
    return arrays


def _check_names(arrays: dict[str, np.ndarray], path: Path) -> None:
    strange = [name for name in arrays if name not in _NAMES]
    orphans = [
        name
        for name in arrays
        if name.endswith("_labels") and name[: -len("_labels")] not in arrays
    ]
    if strange or orphans or "train" not in arrays:
        raise ValueError(
            f"{path}: expected one array, or train with any of {', '.join(_NAMES[1:])} (labels "
            f"only beside their rows), got {', '.join(arrays)}; rename them"
        )


def _part(arrays: dict[str, np.ndarray], part: str, path: Path) -> Split:
    return as_split(arrays[part], arrays.get(f"{part}_labels"), f"{path}, {part}")


def _check_events(parts: dict[str, Split], path: Path) -> None:
    shapes = {part: split.inputs.shape[1:] for part, split in parts.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        raise ValueError(f"{path}: expected rows of one shape in all parts, got {listed}")
