"""Irregular measurements in intensive care: set A of PhysioNet's challenge of 2012."""

from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from jaxvae.data.dataset import TEST_STREAM, VALIDATION_STREAM, random_stream
from jaxvae.data.series.physionet_archive import (
    DESCRIPTORS,
    PARAMETERS,
    VARIABLES,
    Measurements,
    find_files,
    read_measurements,
    read_outcomes,
)
from jaxvae.series import TimeSeries

_MINUTES = 48 * 60
_WEIGHT = PARAMETERS.index("Weight")


class IcuRecords(NamedTuple):
    """Stays in intensive care, one a row.

    Attributes:
        ids: shape (record,), the RecordID.
        series: the first 48 hours; shapes (record, time) and (record, time, 37), channels as in
            ``PHYSIONET_UNITS``. Every record has a row at time 0, admission, observed or not.
        descriptors: shape (record, 5): age in years, gender (0 female, 1 male), height in cm, type
            of unit (1 coronary care, 2 cardiac surgery, 3 medical, 4 surgical), weight in kg at
            admission; 0 where unknown.
        descriptor_mask: likewise, True where known.
        outcomes: shape (record, 5), as published: the scores SAPS-I and SOFA and the days in
            hospital, -1 where unknown, the days survived, -1 for no recorded death, and whether
            the patient died in hospital, 0 or 1.
    """

    ids: Int32[np.ndarray, "record"]
    series: TimeSeries
    descriptors: Float32[np.ndarray, "record 5"]
    descriptor_mask: Bool[np.ndarray, "record 5"]
    outcomes: Int32[np.ndarray, "record 5"]


class PhysioNet2012(NamedTuple):
    """The divided set.

    Attributes:
        train: what is learnt from.
        validation: what choices are made on, or None.
        test: what is reported.
        low: shape (37,), what became 0 in each channel.
        high: shape (37,), what became 1.
    """

    train: IcuRecords
    validation: IcuRecords | None
    test: IcuRecords
    low: Float32[np.ndarray, "37"]
    high: Float32[np.ndarray, "37"]


def physionet2012(
    data_dir: str | PathLike[str] | None = None,
    *,
    bin_minutes: int = 6,
    time_unit: float = 1.0,
    normalise: bool = True,
    range_over_all: bool = False,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
) -> PhysioNet2012:
    """Read the 4,000 records of set A, as numpy arrays padded to one length.

    Times are rounded to the nearest bin, halves to the even one, and several values of a variable
    in one bin are averaged. A weight at admission is an observation of that channel at time 0 too.
    What was parsed is kept in the user's cache and taken from there while the archive is the same.

    Args:
        data_dir: a folder with ``set-a.tar.xz`` (or ``set-a.tar.gz``) and ``Outcomes-a.txt``, in it
            or in a folder physionet2012 in it. Without it the folder that the environment variable
            JAXVAE_DATA names. The set is not downloaded.
        bin_minutes: width of the bins, a divisor of 2880: 1 leaves the times as they are, 6 is the
            published program's default, 60 the coarse standard before it.
        time_unit: in hours: 48 puts all times into [0, 1].
        normalise: whether to map the range of each channel to [0, 1]; if not, values are in the
            units of ``PHYSIONET_UNITS``. A channel with one value alone, MechVent, becomes 0.
        range_over_all: whether that range is over all records, as in the published program. By
            default it is over the training records, so that nothing of the others leaks, and
            values of the others may lie outside [0, 1].
        test_fraction: of the records that are tested on.
        validation_fraction: of all records, held out of the others; 0 holds none out.
        seed: of the division.

    Raises:
        ValueError: if the files are missing, damaged or others, the width is no divisor of 48
            hours, or the fractions leave a part without records.

    Reference: Silva et al. (2012), Predicting in-hospital mortality of ICU patients; Rubanova, Chen
        & Duvenaud (2019), section 4.4.

    Example:
        >>> from jaxvae.data.series import PHYSIONET_UNITS
        >>> list(PHYSIONET_UNITS).index("HR"), PHYSIONET_UNITS["HR"]
        (14, '1/min')
    """
    import pooch

    if bin_minutes < 1 or _MINUTES % bin_minutes:
        raise ValueError(f"bin_minutes expected a divisor of {_MINUTES}, got {bin_minutes}")
    if not time_unit > 0:
        raise ValueError(f"time_unit expected a number of hours above 0, got {time_unit}")
    archive, table = find_files(None if data_dir is None else Path(data_dir).expanduser())
    cache = Path(pooch.os_cache("jaxvae")) / "physionet2012"
    measurements, outcomes = read_measurements(archive, cache), read_outcomes(table)
    rows = _divide(len(outcomes), test_fraction, validation_fraction, seed)
    records = icu_records(measurements, outcomes, bin_minutes, time_unit)
    chosen = slice(None) if range_over_all else rows[0]
    low, high = channel_range(records.series, chosen)
    if normalise:
        _normalise_in_place(records.series, low, high)
    train, validation, test = (_take(records, each) for each in rows)
    return PhysioNet2012(train, validation if len(validation.ids) else None, test, low, high)


def icu_records(
    measurements: Measurements,
    outcomes: Int32[np.ndarray, "record 6"],
    bin_minutes: int,
    time_unit: float,
) -> IcuRecords:
    """Bin the measurements of the records that have outcomes; nothing is normalised."""
    ids = outcomes[:, 0]
    record = np.searchsorted(ids, measurements.record)
    if not np.array_equal(ids, np.unique(measurements.record)):
        raise ValueError("expected one line of outcomes for each record, got others")
    number = [PARAMETERS.index(name) for name in DESCRIPTORS]
    described = np.full((len(ids), len(DESCRIPTORS)), -1, np.float32)
    for column, parameter in enumerate(number):
        at = (measurements.parameter == parameter) & (measurements.minute == 0)
        described[record[at], column] = measurements.value[at]
    known = described >= 0
    series = _binned(measurements, record, len(ids), bin_minutes, time_unit)
    return IcuRecords(ids, series, np.where(known, described, 0), known, outcomes[:, 1:])


def channel_range(
    series: TimeSeries, rows: Int[np.ndarray, "chosen"] | slice
) -> tuple[Float32[np.ndarray, "channel"], Float32[np.ndarray, "channel"]]:
    """Take the smallest and the largest observed value of each channel; 0 and 1 if it has none."""
    values, mask = np.asarray(series.values)[rows], np.asarray(series.mask)[rows]
    low = np.min(values, axis=(0, 1), where=mask, initial=np.inf)
    high = np.max(values, axis=(0, 1), where=mask, initial=-np.inf)
    seen = low <= high
    return np.where(seen, low, 0).astype(np.float32), np.where(seen, high, 1).astype(np.float32)


def _normalise_in_place(
    series: TimeSeries, low: Float32[np.ndarray, "channel"], high: Float32[np.ndarray, "channel"]
) -> None:
    values = np.asarray(series.values)
    values -= low
    values /= np.where(high > low, high - low, 1)
    values[~np.asarray(series.mask)] = 0


def _binned(
    measurements: Measurements,
    record: Int[np.ndarray, "row"],
    count: int,
    bin_minutes: int,
    time_unit: float,
) -> TimeSeries:
    channels, bins = len(VARIABLES), _MINUTES // bin_minutes + 1
    unknown = (measurements.parameter == _WEIGHT) & (measurements.value < 0)
    chosen = (measurements.parameter < channels) & ~unknown
    bin_number = np.rint(measurements.minute[chosen] / bin_minutes).astype(np.int64)
    moment = record[chosen] * bins + bin_number
    # Every record has a row at time 0.
    moments = np.unique(np.concatenate([moment, np.arange(count) * bins]))
    owner = moments // bins
    lengths = np.bincount(owner, minlength=count)
    place = np.arange(len(moments)) - (np.cumsum(lengths) - lengths)[owner]
    hours = (moments % bins * bin_minutes / 60 / time_unit).astype(np.float32)
    times = np.repeat(hours[np.cumsum(lengths) - 1][:, None], lengths.max(), axis=1)
    times[owner, place] = hours
    cell = np.searchsorted(moments, moment) * channels + measurements.parameter[chosen]
    cells, of_cell, repeats = np.unique(cell, return_inverse=True, return_counts=True)
    means = np.bincount(of_cell, measurements.value[chosen]) / repeats
    where = owner[cells // channels], place[cells // channels], cells % channels
    values = np.zeros((*times.shape, channels), np.float32)
    mask = np.zeros(values.shape, bool)
    values[where], mask[where] = means, True
    return TimeSeries(times, values, mask)


def _divide(
    total: int, test_fraction: float, validation_fraction: float, seed: int
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "validation"], Int[np.ndarray, "test"]]:
    """Choose the rows of each part, in order; the test part does not depend on the validation."""
    tested, validated = round(total * test_fraction), round(total * validation_fraction)
    if tested < 1 or validated < 0 or tested + validated >= total:
        raise ValueError(
            "test_fraction and validation_fraction expected to leave records to test on and to "
            f"train on, got {test_fraction} and {validation_fraction} of {total}"
        )
    order = random_stream(seed, TEST_STREAM).permutation(total)
    rest = random_stream(seed, VALIDATION_STREAM).permutation(np.sort(order[tested:]))
    return np.sort(rest[validated:]), np.sort(rest[:validated]), np.sort(order[:tested])


def _take(records: IcuRecords, rows: Int[np.ndarray, "chosen"]) -> IcuRecords:
    ids, series, descriptors, known, outcomes = records
    part = TimeSeries(*(np.asarray(array)[rows] for array in series))
    return IcuRecords(ids[rows], part, descriptors[rows], known[rows], outcomes[rows])
