"""Rows in array_record files: read at random, checked against damage, larger than memory."""

import threading
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxvae._types import PyTree
from jaxvae.data.sidecar import Sidecar, read_sidecar

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
