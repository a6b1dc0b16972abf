"""The text files of PhysioNet's challenge of 2012, read from their archive into a few arrays."""

import hashlib
import lzma
import os
import tarfile
import tempfile
import zlib
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8, Int16, Int32

from jaxvae.data.arrays import read_arrays
from jaxvae.data.sources import ENVIRONMENT, Original, Source, check_content, in_folder

# Units as the challenge states them; "1" is a pure number.
PHYSIONET_UNITS = MappingProxyType(
    {
        "Albumin": "g/dL",
        "ALP": "IU/L",
        "ALT": "IU/L",
        "AST": "IU/L",
        "Bilirubin": "mg/dL",
        "BUN": "mg/dL",
        "Cholesterol": "mg/dL",
        "Creatinine": "mg/dL",
        "DiasABP": "mmHg",
        "FiO2": "1",
        "GCS": "1",
        "Glucose": "mg/dL",
        "HCO3": "mmol/L",
        "HCT": "%",
        "HR": "1/min",
        "K": "mEq/L",
        "Lactate": "mmol/L",
        "MAP": "mmHg",
        "MechVent": "1",
        "Mg": "mmol/L",
        "Na": "mEq/L",
        "NIDiasABP": "mmHg",
        "NIMAP": "mmHg",
        "NISysABP": "mmHg",
        "PaCO2": "mmHg",
        "PaO2": "mmHg",
        "pH": "1",
        "Platelets": "1/nL",
        "RespRate": "1/min",
        "SaO2": "%",
        "SysABP": "mmHg",
        "Temp": "°C",
        "TroponinI": "µg/L",
        "TroponinT": "µg/L",
        "Urine": "mL",
        "WBC": "1/nL",
        "Weight": "kg",
    }
)
VARIABLES = tuple(PHYSIONET_UNITS)
# Years; 0 female, 1 male; cm; 1 coronary care, 2 cardiac surgery, 3 medical, 4 surgical; kg.
DESCRIPTORS = ("Age", "Gender", "Height", "ICUType", "Weight")
# Scores; days in hospital; days from admission to death; 0 or 1.
OUTCOMES = ("SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")


# Weight is a variable too: its first value is the descriptor.
PARAMETERS = (*VARIABLES, *(name for name in DESCRIPTORS if name not in VARIABLES))
_HEADER = b"Time,Parameter,Value\n"
_OUTCOME_HEADER = ",".join(("RecordID", *OUTCOMES))
_NAME = "physionet2012"
_FORMAT = 1
_DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error)

_ROWS = Original(
    "set-a.tar.xz",
    "the records of set A of PhysioNet's challenge of 2012",
    "fe3b241f34a8f5c938df3a9708c4e6d2f67759910f4a26144213e9831ed64648",
    "f68ec2810c04ef97617bcb030b95b5222c5700efe2df2b1eba08048913a5c19e",
)
_OUTCOMES = Original(
    "Outcomes-a.txt",
    "the outcomes of set A of PhysioNet's challenge of 2012",
    "2613ea60ccda29f87571a7d6b09ad130858a8ccd66325bd073365925026883c2",
    "2613ea60ccda29f87571a7d6b09ad130858a8ccd66325bd073365925026883c2",
)
_KNOWN = (_ROWS, _OUTCOMES)
# PhysioNet itself offers set-a.tar.gz.
_SOURCES = tuple(
    Source(_NAME, (_ROWS._replace(file=file), _OUTCOMES), mirrors=())
    for file in ("set-a.tar.xz", "set-a.tar.gz")
)


class Measurements(NamedTuple):
    """What the text files hold, one row for each of their lines that gives a value.

    Attributes:
        record: shape (row,), the RecordID; rows of one record lie together.
        minute: shape (row,), since admission, not decreasing within a record.
        parameter: shape (row,), an index of ``PARAMETERS``.
        value: shape (row,), -1 where a descriptor is unknown.
    """

    record: Int32[np.ndarray, "row"]
    minute: Int16[np.ndarray, "row"]
    parameter: Int8[np.ndarray, "row"]
    value: Float32[np.ndarray, "row"]


def find_files(data_dir: Path | None) -> tuple[Path, Path]:
    """Find the archive and the outcomes in a folder of the user's.

    Raises:
        ValueError: if they are not there, or no folder is named.
    """
    root = data_dir or os.environ.get(ENVIRONMENT)
    for source in _SOURCES if root else ():
        found = in_folder(source, Path(root or ""))
        if found is not None:
            return found[0], found[1]
    where = f"{Path(root) / _NAME} or in {root}" if root else "a folder"
    raise ValueError(
        f"{_NAME} expected set-a.tar.xz or set-a.tar.gz and Outcomes-a.txt in {where}; get them "
        "from physionet.org/content/challenge-2012 and name the folder by data_dir or by the "
        f"environment variable {ENVIRONMENT}"
    )


def read_measurements(archive: Path, cache: Path, known: Original = _ROWS) -> Measurements:
    """Read the archive, or what an earlier reading of the same bytes left in the cache.

    Args:
        archive: a compressed tar file with one text file a record.
        cache: a folder for FILE.npz, which need not exist and need not be writable.
        known: what the archive should hold.

    Raises:
        ValueError: if the archive is damaged or does not hold that.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    kept = cache / f"set-a-{digest[:16]}-{_FORMAT}.npz"
    if kept.is_file():
        try:
            measurements = Measurements(**read_arrays(kept))
            check_content(_content(measurements), known, str(kept), _KNOWN)
        # A damaged copy is as good as none.
        except (ValueError, TypeError):
            pass
        else:
            return measurements
    measurements = parse_archive(archive)
    check_content(_content(measurements), known, str(archive), _KNOWN)
    _keep(measurements, kept)
    return measurements


def parse_archive(archive: Path) -> Measurements:
    """Parse all text files of an archive, in the order of their record's number.

    Raises:
        ValueError: if something in it cannot be read.
    """
    try:
        with tarfile.open(archive, "r:*") as tar:
            files = {
                int(Path(member.name).stem): tar.extractfile(member).read()  # pyright: ignore
                for member in tar
                if member.isfile()
            }
        return _parse(dict(sorted(files.items())))
    # A damaged file shows as any of these; a KeyError is an unknown parameter.
    except (*_DAMAGE, OSError, EOFError, ValueError, KeyError) as fault:
        raise ValueError(
            f"{archive}: expected a tar file of RecordID.txt with lines of time, parameter and "
            f"value, got {fault!r}; get the file again"
        ) from fault


def read_outcomes(path: Path, known: Original | None = _OUTCOMES) -> Int32[np.ndarray, "record 6"]:
    """Read the table of outcomes, RecordID first, sorted by it.

    Raises:
        ValueError: if the file is not the known one, or no such table.
    """
    content = path.read_bytes()
    if known is not None:
        check_content(content, known, str(path), _KNOWN)
    header, *lines = content.decode().split()
    if header != _OUTCOME_HEADER:
        raise ValueError(f"{path}: expected the columns {_OUTCOME_HEADER}, got {header}")
    table = np.array([line.split(",") for line in lines], np.int32)
    return table[np.argsort(table[:, 0])]


def _parse(files: dict[int, bytes]) -> Measurements:
    bodies = []
    for record, text in files.items():
        text = text.replace(b"\r\n", b"\n")
        if not text.startswith(_HEADER) or not text.endswith(b"\n"):
            raise ValueError(f"record {record} without its first line or its last line's end")
        bodies.append(text[len(_HEADER) :])
    # All files at once: a loop over 1.8 million lines takes several times as long.
    fields = b"".join(bodies).replace(b"\n", b",").split(b",")[:-1]
    counts = [body.count(b"\n") for body in bodies]
    if len(fields) != 3 * sum(counts):
        raise ValueError(f"{len(fields)} fields in {sum(counts)} lines")
    numbers = {name.encode(): number for number, name in enumerate(PARAMETERS)}
    numbers[b"RecordID"] = -1
    parameter = np.array([numbers[name] for name in fields[1::3]], np.int8)
    value = np.array([float(text) for text in fields[2::3]], np.float32)
    record = np.repeat(np.array(list(files), np.int32), counts)
    given = parameter >= 0
    if not np.array_equal(value[~given].astype(np.int32), list(files)):
        raise ValueError("records under other numbers than their files")
    minute = _minutes(fields[0::3])
    return Measurements(record[given], minute[given], parameter[given], value[given])


def _minutes(times: list[bytes]) -> Int16[np.ndarray, "row"]:
    """Read hh:mm."""
    letters = np.frombuffer(b"".join(times), np.uint8)
    if len(letters) != 5 * len(times):
        raise ValueError("times other than hh:mm")
    digits = (letters.reshape(-1, 5) - ord("0"))[:, [0, 1, 3, 4]].astype(np.int16)
    if digits.size and digits.max() > 9:
        raise ValueError("times other than hh:mm")
    return digits @ np.array([600, 60, 10, 1], np.int16)


def _content(measurements: Measurements) -> bytes:
    return b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in measurements)


def _keep(measurements: Measurements, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            np.savez(temporary, **measurements._asdict())
            os.replace(temporary, path)
    # Reading again is slower, and nothing worse.
    except OSError:
        pass
