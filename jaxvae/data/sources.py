"""The published files: what they are called, where they are found, and whether they are intact."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Original(NamedTuple):
    """One file as its authors published it.

    Attributes:
        file: its name.
        title: what it holds, for messages.
        sha256: of the file.
        content_sha256: of the values in it, however they are compressed: the uncompressed IDX
            file, or the pixels packed to bits.
    """

    file: str
    title: str
    sha256: str
    content_sha256: str


class Source(NamedTuple):
    """A data set as its authors published it.

    Attributes:
        name: what it is loaded by, and its folder.
        originals: its files, in the order in which the data set's reader takes them.
        mirrors: addresses that end in a slash, to be followed by a file's name.
        packed: one file that holds the same values and is taken where it lies, or None.
    """

    name: str
    originals: tuple[Original, ...]
    mirrors: tuple[str, ...]
    packed: str | None = None


MNIST = Source(
    name="mnist",
    originals=(
        Original(
            "train-images-idx3-ubyte.gz",
            "the training images of MNIST",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        Original(
            "train-labels-idx1-ubyte.gz",
            "the training labels of MNIST",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        Original(
            "t10k-images-idx3-ubyte.gz",
            "the test images of MNIST",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        Original(
            "t10k-labels-idx1-ubyte.gz",
            "the test labels of MNIST",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    originals=(
        Original(
            "train-images-idx3-ubyte.gz",
            "the training images of Fashion-MNIST",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        Original(
            "train-labels-idx1-ubyte.gz",
            "the training labels of Fashion-MNIST",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        Original(
            "t10k-images-idx3-ubyte.gz",
            "the test images of Fashion-MNIST",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        Original(
            "t10k-labels-idx1-ubyte.gz",
            "the test labels of Fashion-MNIST",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
)

BINARIZED_MNIST = Source(
    name="binarized_mnist",
    originals=(
        Original(
            "binarized_mnist_train.amat",
            "the train part of binarized MNIST",
            "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
            "727146c35424b019f3e350e1e69faa05644a0abaf787e3f4e1a9632220a13906",
        ),
        Original(
            "binarized_mnist_valid.amat",
            "the validation part of binarized MNIST",
            "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
            "a256ac44ae26be720fad8616a05ed6ecfd1619930d9a208379bb2a4405df5b6d",
        ),
        Original(
            "binarized_mnist_test.amat",
            "the test part of binarized MNIST",
            "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
            "9fcd8da6f0fdf09b2ba30fe63a0bb784042a0de82563172530229b983e294ff2",
        ),
    ),
    mirrors=("http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",),
    packed="binarized_mnist_packed.npz",
)

KNOWN = (*MNIST.originals, *FASHION_MNIST.originals, *BINARIZED_MNIST.originals)


def check_content(content: bytes, expected: Original, name: str, known: Sequence[Original]) -> None:
    """Raise unless the content is the expected one; say what it is instead where that is known.

    Args:
        content: the values, as ``Original.content_sha256`` is of.
        expected: what the file should be.
        name: the file, for messages.
        known: what it may have been taken for.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest == expected.content_sha256:
        return
    for other in known:
        if digest == other.content_sha256:
            raise ValueError(
                f"{name}: expected {expected.title}, got {other.title}; it was renamed or put into "
                "the wrong folder"
            )
    raise ValueError(
        f"{name}: expected {expected.title}, but the values are not theirs: corrupted or modified; "
        "get the file again, or load data of your own from FILE.npz"
    )


ENVIRONMENT = "JAXVAE_DATA"


def obtain(source: Source, data_dir: Path | None, cache: Path) -> list[Path]:
    """Find or download the files of a data set.

    Args:
        source: the data set.
        data_dir: where the files must be if it is given. Without it the folder that the
            environment variable JAXVAE_DATA names is searched, then the cache, then the mirrors.
        cache: holds what was downloaded; a file there has the published checksum.

    Returns:
        The originals in the order of ``source``, or the one packed file.

    Raises:
        ValueError: if the files cannot be found or downloaded, with what was tried and what else
            would help.
    """
    if data_dir is not None:
        found = in_folder(source, data_dir)
        if found is None:
            raise ValueError(_absent(source, "data_dir", data_dir))
        return found
    folder = os.environ.get(ENVIRONMENT)
    if folder:
        found = in_folder(source, Path(folder))
        if found is not None:
            return found
    paths = []
    for original in source.originals:
        path, reasons = _download(original, source.mirrors, cache)
        if path is None:
            raise ValueError(_unobtainable(source, original, folder, cache, reasons))
        paths.append(path)
    return paths


def in_folder(source: Source, root: Path) -> list[Path] | None:
    """Look for the whole data set in ROOT/NAME, then in ROOT."""
    for folder in (root / source.name, root):
        paths = [folder / original.file for original in source.originals]
        if all(path.is_file() for path in paths):
            return paths
        if source.packed is not None and (folder / source.packed).is_file():
            return [folder / source.packed]
    return None


def _download(
    original: Original, mirrors: tuple[str, ...], cache: Path
) -> tuple[Path | None, list[str]]:
    """Take a file from the cache or else from the first mirror that has it; or say why not."""
    import pooch

    reasons = []
    for mirror in mirrors:
        address = mirror + original.file
        try:
            path = pooch.retrieve(
                address,
                known_hash=f"sha256:{original.sha256}",
                fname=original.file,
                path=cache,
                progressbar=True,
            )
        # A refused connection and a full disk are OSErrors, a wrong checksum is a ValueError.
        except (OSError, ValueError) as fault:
            reasons.append(f"{address}: {fault}")
        else:
            return Path(path), reasons
    return None, reasons


def _wanted(source: Source) -> str:
    names = ", ".join(original.file for original in source.originals)
    return names if source.packed is None else f"{names} (or {source.packed} alone)"


def _absent(source: Source, origin: str, root: Path) -> str:
    if not root.is_dir():
        return f"{origin} expected a folder with the files of {source.name}, {root} is not a folder"
    folder = root / source.name
    if not folder.is_dir():
        folder = root
    missing = [each.file for each in source.originals if not (folder / each.file).is_file()]
    return (
        f"{origin} expected {_wanted(source)} in {root / source.name} or in {root}; "
        f"{folder} lacks {', '.join(missing)}"
    )


def _unobtainable(
    source: Source, original: Original, folder: str | None, cache: Path, reasons: list[str]
) -> str:
    searched = _absent(source, ENVIRONMENT, Path(folder)) if folder else f"{ENVIRONMENT} is not set"
    failed = "".join(f"\n    {reason}" for reason in reasons)
    return (
        f"{source.name} is not available: {original.file} is in no folder and on no mirror.\n"
        f"  Any one of these would help:\n"
        f"  - a folder with {_wanted(source)}, named by data_dir or by the environment variable "
        f"{ENVIRONMENT} ({searched});\n"
        f"  - the originals in the cache {cache};\n"
        f"  - an internet connection; tried and failed:{failed}\n"
        f"  - a copy that tensorflow-datasets has prepared: load('tfds:{source.name}')."
    )
