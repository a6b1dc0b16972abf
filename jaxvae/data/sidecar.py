"""What lies beside a file of records: FILE.json, which says what the bytes of a record are."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
                f"expected {path.name} and {beside.name} as write_array_records writes them, there "
                f"is none at {each}"
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
