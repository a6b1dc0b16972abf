"""Loading a data set into memory by its name."""

from os import PathLike
from pathlib import Path

import numpy as np

from jaxvae.data.arrays import SUFFIXES, read_own
from jaxvae.data.binarisation import read_binarized_set
from jaxvae.data.dataset import Dataset, as_split, hold_out, with_validation
from jaxvae.data.idx import read_idx_set
from jaxvae.data.sources import BINARIZED_MNIST, FASHION_MNIST, MNIST, obtain
from jaxvae.data.tfds import read_tfds

_TFDS = "tfds:"


def load(
    name: str,
    data_dir: str | PathLike[str] | None = None,
    *,
    validation: int = 0,
    seed: int = 0,
) -> Dataset:
    """Load a data set into memory, downloading it on first use.

    Args:
        name: ``digits`` (comes with scikit-learn), ``mnist``, ``fashion_mnist``,
            ``binarized_mnist`` (Larochelle's, with its own validation part), ``tfds:NAME`` for an
            image set of tensorflow-datasets, or the path of a FILE.npy or FILE.npz of your own.
        data_dir: a folder with the original files, in it or in a folder of the set's name in it.
            Without it the folder that the environment variable JAXVAE_DATA names is searched,
            then the cache, then the files are downloaded. ``digits`` and own files need none.
        validation: number of rows of the train part to hold out; the test part is never touched.
        seed: of the rows that are held out.

    Returns:
        The data set.

    Raises:
        ValueError: if the name is unknown, a file is missing, damaged or not what its name
            promises, or the validation part cannot be made.

    Example:
        >>> from jaxvae.data import load
        >>> digits = load("digits", validation=300)
        >>> digits.train.inputs.shape, digits.validation.inputs.shape, digits.test.inputs.shape
        ((1200, 8, 8), (300, 8, 8), (297, 8, 8))
    """
    folder = None if data_dir is None else Path(data_dir).expanduser()
    return with_validation(_read(name, folder, seed), validation, seed)


def _read(name: str, data_dir: Path | None, seed: int) -> Dataset:
    if name == "digits":
        return read_digits()
    for source in (MNIST, FASHION_MNIST):
        if name == source.name:
            return read_idx_set(source, obtain(source, data_dir, _cache(name)))
    if name == BINARIZED_MNIST.name:
        return read_binarized_set(BINARIZED_MNIST, obtain(BINARIZED_MNIST, data_dir, _cache(name)))
    if name.startswith(_TFDS):
        return read_tfds(name.removeprefix(_TFDS), data_dir)
    if name.endswith(SUFFIXES):
        return read_own(Path(name).expanduser(), seed)
    raise ValueError(
        "load expected digits, mnist, fashion_mnist, binarized_mnist, tfds:NAME or the path of a "
        f"FILE.npy or FILE.npz, got {name!r}"
    )


def _cache(name: str) -> Path:
    import pooch

    return Path(pooch.os_cache("jaxvae")) / name


_TEST_ROWS = 297
_LARGEST = 16.0


def read_digits() -> Dataset:
    """Read the digits, scaled to [0, 1].

    There is no official division: the 297 test rows are always the same ones, drawn at random
    because the digits of one writer lie together.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.reshape(pixels, (-1, 8, 8)) / _LARGEST
    everything = as_split(images, np.asarray(labels), "digits")
    train, test = hold_out(everything, _TEST_ROWS, np.random.default_rng(0))
    return Dataset("digits", train, None, test)
