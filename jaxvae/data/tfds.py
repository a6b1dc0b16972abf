"""Image sets of tensorflow-datasets, read without TensorFlow."""

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.data.dataset import Dataset, Split, as_split
from jaxvae.data.sources import ENVIRONMENT


def read_tfds(name: str, data_dir: Path | None) -> Dataset:
    """Read an image set of tensorflow-datasets, preparing it first where it is not.

    Reading needs no TensorFlow, preparing does. Rows are in the order of tensorflow-datasets,
    which is not that of the original files.

    Args:
        name: as tensorflow-datasets has it, for example ``kmnist`` or ``emnist/letters``.
        data_dir: where prepared sets are and are put; None for TFDS_DATA_DIR or the home folder.
            A folder of the set's name in it, or in JAXVAE_DATA, may hold the original files, which
            are then not downloaded.

    Raises:
        ValueError: if the set is unknown, cannot be prepared, or has no images or no test split.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        raise ValueError(
            f"expected the name of a set of tensorflow-datasets after 'tfds:', got {name!r}; "
            "tensorflow.org/datasets/catalog lists them"
        ) from None
    if not builder.is_prepared():
        _prepare(builder, name, data_dir)
    return _read(builder, name)


def _prepare(builder: Any, name: str, data_dir: Path | None) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"tfds:{name} expected a set prepared in {builder.data_path}, got none, and preparing "
            'it needs TensorFlow: pip install "jaxvae[prepare]", or copy that folder from a '
            "machine that has it"
        )
    import tensorflow_datasets as tfds

    settings = tfds.download.DownloadConfig(
        manual_dir=_originals(name, data_dir),
        # What is offered ready-made is in a format that cannot be read at random.
        try_download_gcs=False,
    )
    try:
        builder.download_and_prepare(download_config=settings, file_format="array_record")
    # Any of some hundred set builders, of a network and of a disk may be at fault.
    except Exception as fault:
        raise ValueError(
            f"tfds:{name} could not be prepared in {builder.data_path}: {fault}; put its original "
            f"files into a folder {_family(name)} in data_dir or {ENVIRONMENT}, and see that "
            "TFDS_DATA_DIR names a folder that can be written"
        ) from fault


def _family(name: str) -> str:
    """Cut the configuration and the version off a name: ``emnist/letters:3.1.0`` is of emnist."""
    return re.split("[/:]", name)[0]


def _originals(name: str, data_dir: Path | None) -> Path | None:
    root = data_dir or os.environ.get(ENVIRONMENT)
    if not root:
        return None
    folder = Path(root) / _family(name)
    return folder if folder.is_dir() else None


def _read(builder: Any, name: str) -> Dataset:
    splits = list(builder.info.splits)
    if "train" not in splits or "test" not in splits:
        raise ValueError(
            f"tfds:{name} expected the splits train and test, got {', '.join(splits)}; "
            "save a division of your own as FILE.npz"
        )
    features = builder.info.features
    if "image" not in features:
        raise ValueError(f"tfds:{name} expected a feature image, got {', '.join(features)}")
    parts = {
        part: _part(_source(builder, name, part), "label" in features, f"tfds:{name} {part}")
        for part in ("train", "validation", "test")
        if part in splits
    }
    return Dataset(f"tfds:{name}", parts["train"], parts.get("validation"), parts["test"])


def _source(builder: Any, name: str, part: str) -> Any:
    try:
        return builder.as_data_source(part)
    except NotImplementedError as fault:
        raise ValueError(
            f"tfds:{name} expected the format array_record in {builder.data_path}, got "
            f"{builder.info.file_format.value}; delete that folder or choose another data_dir"
        ) from fault


def _part(source: Any, labelled: bool, name: str) -> Split:
    examples = source.__getitems__(range(len(source)))
    shapes = {example["image"].shape for example in examples}
    if len(shapes) != 1:
        raise ValueError(
            f"{name}: expected images of one shape, got {len(shapes)} shapes; resize them and save "
            "them as FILE.npz"
        )
    images = np.stack([example["image"] for example in examples])
    if images.shape[-1] == 1:
        images = images[..., 0]
    if images.dtype == np.uint8 and images.max() <= 1:
        # A whole part without grey: tensorflow-datasets stores binary pixels as bytes too.
        images = images.astype(bool)
    labels = np.array([example["label"] for example in examples]) if labelled else None
    return as_split(images, labels, name)
