"""Writing rows to array_record files, a chunk at a time."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxvae._types import PyTree
from jaxvae.data.sidecar import KINDS, Sidecar, sidecar_path, write_sidecar

_CHUNK_BYTES = 1 << 23


def write_array_records(
    path: str | PathLike[str],
    rows: PyTree | Iterable[PyTree],
    *,
    compress: bool = False,
) -> None:
    """Write rows to a file that ``ArrayRecords`` reads at random, and FILE.json beside it.

    The two appear under their names when they are complete; a fault leaves neither.

    Args:
        path: the file, for example ``train.array_record``.
        rows: an array of shape (rows, *event), a dict of such arrays with equally many rows, or an
            iterable of chunks of either kind, so that memory need only hold one chunk.
        compress: whether with zstd: half the size for grey images, and four times the time to read.

    Raises:
        ValueError: if a file is there already, there are no rows, or they are not numbers or not
            of one kind.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from jaxvae.data import ArrayRecords, write_array_records
        >>> path = f"{tempfile.mkdtemp()}/train.array_record"
        >>> write_array_records(path, {"x": np.zeros((6, 3)), "label": np.arange(6)})
        >>> ArrayRecords(path)[4]["label"].item()
        4
    """
    target = Path(path).expanduser()
    _refuse_existing(target)
    if not target.parent.is_dir():
        raise ValueError(f"expected a folder to write {target.name} to, {target.parent} is none")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        write_sidecar(temporary, _write(temporary, rows, compress))
        _refuse_existing(target)
        # The sidecar last: a file without one is not read.
        os.rename(temporary, target)
        os.rename(sidecar_path(temporary), sidecar_path(target))


def _refuse_existing(target: Path) -> None:
    for each in (target, sidecar_path(target)):
        if each.exists():
            raise ValueError(
                f"expected a new file, {each} exists; delete it or choose another name"
            )


def _write(path: Path, rows: PyTree | Iterable[PyTree], compress: bool) -> Sidecar:
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

    # One record a group, or else a read at random decodes its whole group.
    writer = ArrayRecordWriter(str(path), f"group_size:1,{'zstd' if compress else 'uncompressed'}")
    record, named, count = np.dtype([]), False, 0
    try:
        for chunk in _chunks(rows):
            arrays = _as_dict(chunk)
            if not count:
                record, named = _record_type(arrays), isinstance(chunk, dict)
            packed = _packed(arrays, record)
            content, size = packed.tobytes(), record.itemsize
            for start in range(0, len(content), size):
                writer.write(content[start : start + size])
            count += len(packed)
    finally:
        writer.close()
    if not count:
        raise ValueError(f"{path.name}: expected at least one row, got none")
    # A full disk need not raise.
    if ArrayRecordReader(str(path)).num_records() != count:
        raise ValueError(
            f"{path.name}: expected to write {count} rows, fewer are there; disk full?"
        )
    return Sidecar(record, named, count, path.stat().st_size)


def _chunks(rows: PyTree | Iterable[PyTree]) -> Iterator[PyTree]:
    """Cut arrays into chunks of some megabytes; whole chunks that come are cut likewise."""
    whole = isinstance(rows, dict) or hasattr(rows, "shape")
    for chunk in [rows] if whole else rows:
        arrays = _as_dict(chunk)
        count, record = _row_count(arrays), _record_type(arrays)
        step = max(1, _CHUNK_BYTES // record.itemsize)
        for start in range(0, count, step):
            cut = {name: array[start : start + step] for name, array in arrays.items()}
            yield cut if isinstance(chunk, dict) else cut[""]


def _as_dict(chunk: PyTree) -> dict[str, Any]:
    if isinstance(chunk, dict):
        if not chunk or not all(isinstance(name, str) and name for name in chunk):
            raise ValueError(f"expected a dict with names for its arrays, got {list(chunk)}")
        arrays = chunk
    else:
        arrays = {"": chunk}
    if not all(hasattr(array, "shape") and hasattr(array, "dtype") for array in arrays.values()):
        raise ValueError("expected arrays or flat dicts of arrays, got something else in them")
    return arrays


def _row_count(arrays: dict[str, Any]) -> int:
    lengths = {array.shape[:1] for array in arrays.values()}
    if len(lengths) != 1 or lengths == {()}:
        listed = ", ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"expected one example a row and equally many rows, got shapes {listed}")
    return lengths.pop()[0]


def _record_type(arrays: dict[str, Any]) -> np.dtype:
    types = {name: np.dtype(array.dtype) for name, array in arrays.items()}
    if any(kind.kind not in KINDS for kind in types.values()):
        listed = ", ".join(f"{name} {kind}".strip() for name, kind in types.items())
        raise ValueError(f"expected booleans, integers or floats, got {listed}; convert them first")
    # numpy gives a nameless field a name of its own.
    record = np.dtype(
        [(name, types[name].newbyteorder("<"), arrays[name].shape[1:]) for name in arrays]
    )
    if not record.itemsize:
        raise ValueError("expected rows of at least one value, got empty ones")
    return record


def _packed(arrays: dict[str, Any], record: np.dtype) -> Shaped[np.ndarray, "rows"]:
    if _record_type(arrays) != record:
        raise ValueError(
            f"expected chunks with the same fields, got {record} and {_record_type(arrays)}"
        )
    packed = np.empty(_row_count(arrays), record)
    for name, array in zip(record.names or (), arrays.values(), strict=True):
        packed[name] = np.asarray(array)
    return packed
