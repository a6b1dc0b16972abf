"""Rows in array_record files, with FILE.json beside each: written in chunks, read at random."""

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from jaxvae._types import PyTree

_FORMAT = "jaxvae array records"
_VERSION = 1
KINDS = "biufc"


class Sidecar(NamedTuple):
    """What a file holds.

    Attributes:
        record: a structured type, one field for each array; its itemsize is that of a record.
        named: whether an example is a dict; otherwise it is the array of the only field.
        rows: number of records.
        file_bytes: size of the file.
    """

    record: np.dtype
    named: bool
    rows: int
    file_bytes: int


def sidecar_path(path: Path) -> Path:
    """Name the sidecar of a file."""
    return path.with_name(f"{path.name}.json")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of the file ``path``."""
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "rows": sidecar.rows,
        "file_bytes": sidecar.file_bytes,
        "named": sidecar.named,
        "fields": [
            {"name": name, "dtype": field.base.str, "shape": list(field.shape)}
            for name, field in ((name, sidecar.record[name]) for name in sidecar.record.names or ())
        ],
    }
    sidecar_path(path).write_text(json.dumps(content, indent=1) + "\n")


def read_sidecar(path: Path) -> Sidecar:
    """Read the sidecar of the file ``path``, and see that the file is as long as it says.

    Raises:
        ValueError: if either is missing, damaged or of another version, or they disagree.
    """
    beside = sidecar_path(path)
    for each in (path, beside):
        if not each.is_file():
            raise ValueError(
                f"expected {path.name} and {beside.name} as write_array_records writes them, found "
                f"no file at {each}"
            )
    try:
        sidecar = _parsed(json.loads(beside.read_text()))
    # Whatever JSON may hold: a missing key, a list for a number, a type that numpy does not know.
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as fault:
        raise ValueError(
            f"{beside}: expected what write_array_records writes, got a damaged file or another "
            f"one: {fault!r}; write the rows again"
        ) from fault
    size = path.stat().st_size
    if size != sidecar.file_bytes:
        raise ValueError(
            f"{path}: expected {sidecar.file_bytes} bytes, as {beside.name} says, got {size}: cut "
            "off, or not the file that it lay beside; copy both again"
        )
    return sidecar


def _parsed(content: Any) -> Sidecar:
    if (content["format"], content["version"]) != (_FORMAT, _VERSION):
        raise ValueError(
            f"{_FORMAT} of version {_VERSION} expected, got {content['format']} of version "
            f"{content['version']}"
        )
    fields = [(each["name"], each["dtype"], tuple(each["shape"])) for each in content["fields"]]
    record = np.dtype(fields)
    if any(record[name].base.kind not in KINDS for name, _, _ in fields) or not record.itemsize:
        raise ValueError(f"numbers expected, got {record}")
    rows, file_bytes, named = content["rows"], content["file_bytes"], content["named"]
    sound = type(rows) is int and rows > 0 and type(file_bytes) is int and type(named) is bool
    if not sound or not (named or len(fields) == 1):
        raise ValueError(f"counts expected, got rows {rows}, file_bytes {file_bytes}")
    return Sidecar(record, named, rows, file_bytes)


# A read takes a whole buffer: the default of a mebibyte for a record of 784 bytes costs ten times
# as much. Records longer than the buffer are read past it.
_BUFFER_BYTES = 1024
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


class ArrayRecords:
    """A source for ``stream``: what ``write_array_records`` wrote to one or more files.

    Opening reads the sidecars alone. Rows are numbered through the files in the order given. Each
    record carries a checksum, so a damaged one is noticed when it is read.

    Args:
        paths: a file, or several with the same fields.

    Raises:
        ValueError: if a file or its sidecar is missing, damaged or cut off, or files differ in
            their fields; when rows are read, if a record is damaged.
    """

    def __init__(self, paths: str | PathLike[str] | Sequence[str | PathLike[str]]):
        several = [paths] if isinstance(paths, (str, PathLike)) else paths
        self._paths = tuple(Path(path).expanduser() for path in several)
        if not self._paths:
            raise ValueError("ArrayRecords expected at least one file, got none")
        self._sidecars = [read_sidecar(path) for path in self._paths]
        _check_alike(self._paths, self._sidecars)
        self._ends = np.cumsum([sidecar.rows for sidecar in self._sidecars])
        self._readers: list[Any] = [None] * len(self._paths)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> PyTree:
        batch = self.gather(np.array([index]))
        return {name: batch[name][0] for name in batch} if self._sidecars[0].named else batch[0]

    def __reduce__(self) -> tuple[Callable[..., "ArrayRecords"], tuple[tuple[Path, ...]]]:
        return ArrayRecords, (self._paths,)

    def gather(self, indices: Int[np.ndarray, "n"]) -> PyTree:
        """Read rows.

        Args:
            indices: which ones, in any order.

        Returns:
            An array of shape (n, *event), or a dict of them, as it was written.

        Raises:
            IndexError: if there is no such row.
            ValueError: if a file is damaged.
        """
        outside = indices[(indices < 0) | (indices >= len(self))]
        if outside.size:
            raise IndexError(f"expected rows from 0 to {len(self) - 1}, got {outside[0]}")
        files = np.searchsorted(self._ends, indices, side="right")
        places = indices - np.concatenate([[0], self._ends])[files]
        # A bytearray, so that a transform may work in place.
        joined = bytearray().join(self._read(files.tolist(), places.tolist()))
        record = self._sidecars[0].record
        rows = np.frombuffer(joined, record)
        names = list(record.names or ())
        # Fields lie side by side in a record; a lone one is not copied.
        arrays = {name: np.ascontiguousarray(rows[name]) for name in names}
        return arrays if self._sidecars[0].named else arrays[names[0]]

    def _read(self, files: list[int], places: list[int]) -> list[bytes]:
        reads = {file: self._reader(file).read for file in set(files)}
        records: list[bytes] = []
        try:
            for file, place in zip(files, places, strict=True):
                # Not read([place, …]): that takes memory and time for every record of the file.
                records += reads[file](place, place + 1)
        except (RuntimeError, IndexError, ValueError) as fault:
            at = len(records)
            raise self._damaged(files[at], f"row {places[at]}: {fault}") from fault
        size = self._sidecars[0].record.itemsize
        for file, place, record in zip(files, places, records, strict=True):
            if len(record) != size:
                raise self._damaged(file, f"row {place} of {len(record)} bytes, not {size}")
        return records

    def _reader(self, file: int) -> Any:
        if self._readers[file] is None:
            with self._lock:
                if self._readers[file] is None:
                    self._readers[file] = self._open(file)
        return self._readers[file]

    def _open(self, file: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        try:
            reader = ArrayRecordReader(
                str(self._paths[file]), _OPTIONS, file_reader_buffer_size=_BUFFER_BYTES
            )
            found = reader.num_records()
        except (RuntimeError, ValueError, OSError) as fault:
            raise self._damaged(file, str(fault)) from fault
        if found != self._sidecars[file].rows:
            raise self._damaged(file, f"{found} rows")
        return reader

    def _damaged(self, file: int, got: str) -> ValueError:
        sidecar = self._sidecars[file]
        return ValueError(
            f"{self._paths[file]}: expected {sidecar.rows} rows of {sidecar.record.itemsize} bytes "
            f"each, got {got}; copy or write the file again"
        )


def _check_alike(paths: Sequence[Path], sidecars: Sequence[Sidecar]) -> None:
    for path, sidecar in zip(paths, sidecars, strict=True):
        if sidecar[:2] != sidecars[0][:2]:
            raise ValueError(
                f"expected files with the same fields, got {sidecars[0].record} in {paths[0]} and "
                f"{sidecar.record} in {path}"
            )


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
        raise ValueError(f"expected a folder to write {target.name} to, {target.parent} is not one")
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
