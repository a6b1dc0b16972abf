import importlib.util
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvae.data import load
from jaxvae.data.tfds import _originals

GREY = [4, 3, 1]
COLOUR = [4, 3, 3]

needs_no_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None,
    reason="TensorFlow is installed, and this is about its absence",
)


def features(shape, labelled):
    core = "tensorflow_datasets.core.features"
    image = {
        "pythonClassName": f"{core}.image_feature.Image",
        "image": {"dtype": "uint8", "shape": {"dimensions": [str(size) for size in shape]}},
    }
    label = {
        "pythonClassName": f"{core}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": "10"},
    }
    return {
        "pythonClassName": f"{core}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {"image": image, "label": label} if labelled else {"image": image}
        },
    }


def record(image, label):
    from tensorflow_datasets.proto import tf_example_pb2

    png = io.BytesIO()
    Image.fromarray(image.squeeze()).save(png, "PNG")
    example = tf_example_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(png.getvalue())
    if label is not None:
        example.features.feature["label"].int64_list.value.append(int(label))
    return example.SerializeToString()


def prepare(root, parts, shape=GREY, labelled=True, file_format="array_record", levels=256):
    """Write a set as tensorflow-datasets prepares it, without TensorFlow."""
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = root / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    written, splits = {}, []
    for part, count in parts.items():
        images = generator.integers(0, levels, (count, *shape), dtype=np.uint8)
        labels = generator.integers(0, 10, count)
        writer = ArrayRecordWriter(
            str(folder / f"tiny-{part}.{file_format}-00000-of-00001"), "group_size:1"
        )
        for image, label in zip(images, labels, strict=True):
            writer.write(record(image, label if labelled else None))
        writer.close()
        written[part] = (images, labels)
        splits.append({"name": part, "numBytes": "1", "shardLengths": [str(count)]})
        splits[-1]["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info = {"name": "tiny", "version": "1.0.0", "fileFormat": file_format, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(features(shape, labelled)))
    return written


def test_a_prepared_grey_set_is_read_in_its_order_without_a_channel_axis(tmp_path):
    written = prepare(tmp_path, {"train": 5, "test": 3})
    dataset = load("tfds:tiny", tmp_path)
    for split, part in ((dataset.train, "train"), (dataset.test, "test")):
        images, labels = written[part]
        np.testing.assert_allclose(split.inputs, images[..., 0] / 255.0, rtol=1e-6)
        assert split.inputs.dtype == np.float32
        np.testing.assert_array_equal(split.labels, labels.astype(np.int32), strict=True)
    assert (dataset.name, dataset.validation, dataset.binarisation) == ("tfds:tiny", None, "none")


def test_a_prepared_binary_set_keeps_its_zeros_and_ones(tmp_path):
    written = prepare(tmp_path, {"train": 5, "test": 3}, levels=2)
    dataset = load("tfds:tiny", tmp_path)
    np.testing.assert_array_equal(dataset.train.inputs, written["train"][0][..., 0])


def test_a_prepared_colour_set_keeps_its_channels_and_may_have_no_labels(tmp_path):
    written = prepare(tmp_path, {"train": 5, "test": 3}, shape=COLOUR, labelled=False)
    dataset = load("tfds:tiny", tmp_path)
    np.testing.assert_allclose(dataset.train.inputs, written["train"][0] / 255.0, rtol=1e-6)
    assert dataset.train.labels is None


def test_a_validation_split_is_the_validation_part(tmp_path):
    written = prepare(tmp_path, {"train": 5, "validation": 4, "test": 3})
    dataset = load("tfds:tiny", tmp_path)
    np.testing.assert_array_equal(dataset.validation.labels, written["validation"][1])
    with pytest.raises(ValueError, match="tfds:tiny brings its own validation part of 4 rows"):
        load("tfds:tiny", tmp_path, validation=2)


def test_rows_can_be_held_out_for_validation(tmp_path):
    prepare(tmp_path, {"train": 5, "test": 3})
    dataset = load("tfds:tiny", tmp_path, validation=2)
    assert (len(dataset.train.inputs), len(dataset.validation.inputs)) == (3, 2)


def test_a_set_without_a_test_split_is_refused_with_its_splits(tmp_path):
    prepare(tmp_path, {"train": 5, "extra": 3})
    with pytest.raises(ValueError, match=r"expected the splits train and test, got .*extra"):
        load("tfds:tiny", tmp_path)


def test_images_of_several_shapes_are_refused(tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    prepare(tmp_path, {"train": 2, "test": 2})
    folder = tmp_path / "tiny" / "1.0.0"
    free = features(["-1", "-1", 1], labelled=True)
    (folder / "features.json").write_text(json.dumps(free))
    writer = ArrayRecordWriter(
        str(folder / "tiny-train.array_record-00000-of-00001"), "group_size:1"
    )
    for side in (3, 4):
        writer.write(record(np.zeros((side, side), np.uint8), 0))
    writer.close()
    with pytest.raises(ValueError, match="tfds:tiny train: expected images of one shape, got 2"):
        load("tfds:tiny", tmp_path)


def test_a_set_prepared_in_another_format_is_refused(tmp_path):
    prepare(tmp_path, {"train": 2, "test": 2}, file_format="tfrecord")
    with pytest.raises(ValueError, match=r"expected the format array_record .*, got tfrecord"):
        load("tfds:tiny", tmp_path)


def test_an_unknown_set_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a set of tensorflow-datasets .*'no_such_set'"):
        load("tfds:no_such_set", tmp_path)


@needs_no_tensorflow
def test_preparing_without_tensorflow_says_what_to_install(tmp_path):
    with pytest.raises(ValueError, match=r'pip install "jaxvae\[prepare\]"'):
        load("tfds:mnist", tmp_path)


def test_originals_are_looked_for_in_data_dir_and_else_in_the_environment(tmp_path, monkeypatch):
    for folder in ("argument", "environment"):
        (tmp_path / folder / "emnist").mkdir(parents=True)
    monkeypatch.setenv("JAXVAE_DATA", str(tmp_path / "environment"))
    argument = tmp_path / "argument"
    assert _originals("emnist/letters:3.1.0", argument) == argument / "emnist"
    assert _originals("emnist", None) == tmp_path / "environment" / "emnist"
    assert _originals("kmnist", argument) is None
    monkeypatch.delenv("JAXVAE_DATA")
    assert _originals("emnist", None) is None


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_set_is_prepared_from_the_originals_and_then_read(data_dir, tmp_path, name):
    pytest.importorskip("tensorflow")
    # In a process of its own: tensorflow-datasets reads TFDS_DATA_DIR once, when it is imported.
    code = f"from jaxvae.data import load; load('tfds:{name}')"
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    ours, theirs = load(name, data_dir), load(f"tfds:{name}", tmp_path)
    for a, b in ((ours.train, theirs.train), (ours.test, theirs.test)):
        assert rows_with_labels(a) == rows_with_labels(b)


def rows_with_labels(split):
    pairs = zip(split.inputs, split.labels, strict=True)
    return sorted((image.tobytes(), int(label)) for image, label in pairs)


def test_a_preparation_that_fails_says_what_would_help(data_dir, tmp_path):
    pytest.importorskip("tensorflow")
    folder = tmp_path / "mnist"
    folder.mkdir()
    for file in (data_dir / "mnist").glob("*.gz"):
        (folder / file.name).write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"(?s)could not be prepared .*folder mnist in data_dir"):
        load("tfds:mnist", tmp_path)
