"""Finding the published files: in a folder of the user's, in the cache, or on a mirror."""

import os
from pathlib import Path

from jaxvae.data.sources import Original, Source

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
        ValueError: if the files are not to be had, saying what was tried and which ways remain.
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
        return f"{origin} expected a folder with the files of {source.name}, {root} is none"
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
        f"{source.name} could not be had: {original.file} is in no folder and no mirror gave it.\n"
        f"  Any one of these would do:\n"
        f"  - a folder with {_wanted(source)}, named by data_dir or by the environment variable "
        f"{ENVIRONMENT} ({searched});\n"
        f"  - the originals in the cache {cache};\n"
        f"  - an internet connection; tried and failed:{failed}\n"
        f"  - a copy that tensorflow-datasets has prepared: load('tfds:{source.name}')."
    )
