import io
import tarfile

import numpy as np
import pytest

from jaxvae.data.series import PHYSIONET_UNITS, physionet2012
from jaxvae.data.series.physionet import channel_range, icu_records
from jaxvae.data.series.physionet_archive import parse_archive, read_measurements, read_outcomes
from jaxvae.series import unpad

CHANNELS = list(PHYSIONET_UNITS)
HR, TEMP, WEIGHT, PH = (CHANNELS.index(name) for name in ("HR", "Temp", "Weight", "pH"))

RECORDS = {
    7: {"Height": "-1", "Weight": "-1", "rows": ["00:03,HR,60", "00:09,HR,70", "01:00,Temp,37.5"]},
    5: {"Height": "170.2", "Weight": "80", "rows": ["00:00,HR,0", "00:08,HR,90", "48:00,pH,7.4"]},
    9: {"Height": "150", "Weight": "-1", "rows": []},
}


def text(number, record):
    admission = {"RecordID": str(number), "Age": "50", "Gender": "1", "ICUType": "3"} | record
    rows = [
        f"00:00,{name},{admission[name]}"
        for name in ("RecordID", "Age", "Gender", "Height", "ICUType", "Weight")
    ]
    return "\n".join([record.get("header", "Time,Parameter,Value"), *rows, *record["rows"], ""])


def write_records(folder, records):
    with tarfile.open(folder / "set-a.tar.xz", "w:xz") as tar:
        for number, record in records.items():
            content = text(number, record).encode()
            member = tarfile.TarInfo(f"set-a/{number}.txt")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    lines = [f"{number},5,2,3,-1,0" for number in records]
    header = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
    (folder / "Outcomes-a.txt").write_text("\n".join([header, *lines, ""]))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three records, one of them without measurements, binned in different ways."""
    folder = tmp_path_factory.mktemp("small")
    write_records(folder, RECORDS)
    measurements = parse_archive(folder / "set-a.tar.xz")
    outcomes = read_outcomes(folder / "Outcomes-a.txt", known=None)
    return lambda minutes, unit=1.0: icu_records(measurements, outcomes, minutes, unit)


def test_records_are_sorted_and_described(small):
    records = small(1)
    assert records.ids.tolist() == [5, 7, 9]
    # Age, gender, height, type of unit, weight; what is unknown is 0.
    np.testing.assert_allclose(
        records.descriptors, [[50, 1, 170.2, 3, 80], [50, 1, 0, 3, 0], [50, 1, 150, 3, 0]]
    )
    assert records.descriptor_mask.sum(0).tolist() == [3, 3, 2, 3, 1]
    assert records.outcomes.tolist() == [[5, 2, 3, -1, 0]] * 3


def test_every_minute_can_stand(small):
    first, second, third = unpad(small(1).series)
    np.testing.assert_allclose(first.times, [0, 8 / 60, 48])
    assert first.values[0, [HR, WEIGHT]].tolist() == [0, 80]
    assert first.mask.sum() == 4
    np.testing.assert_allclose(second.times, [0, 3 / 60, 9 / 60, 1])
    # An unknown weight is no observation, and a record without any still begins at time 0.
    assert second.mask[0].sum() == 0
    assert second.values[1:3, HR].tolist() == [60, 70]
    assert third.times.tolist() == [0]
    assert not third.mask.any()


def test_bins_average_what_falls_into_them(small):
    first, second, _ = unpad(small(60).series)
    np.testing.assert_allclose(first.times, [0, 48])
    assert first.values[0, HR] == 45
    np.testing.assert_allclose(second.times, [0, 1])
    assert second.values[0, HR] == 65
    assert second.values[1, TEMP] == 37.5


def test_halves_go_to_the_even_bin(small):
    # 3 minutes are half a bin of 6, 9 are one and a half.
    _, second, _ = unpad(small(6, 48.0).series)
    np.testing.assert_allclose(second.times, [0, 0.2 / 48, 1 / 48], rtol=1e-6)
    assert second.values[:2, HR].tolist() == [60, 70]


def test_ranges_are_over_what_is_observed_in_the_chosen_records(small):
    series = small(1).series
    low, high = channel_range(series, np.array([1, 2]))
    assert (low[HR], high[HR]) == (60, 70)
    assert (low[PH], high[PH]) == (0, 1)
    low, high = channel_range(series, slice(None))
    assert (low[HR], high[HR]) == (0, 90)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"rows": ["00:07,HR"]}, "fields in"),
        ({"rows": ["7,HR,80"]}, "hh:mm"),
        ({"rows": ["0x:07,HR,80"]}, "hh:mm"),
        ({"rows": ["00:07,Pulse,80"]}, "Pulse"),
        ({"rows": ["00:07,HR,high"]}, "high"),
        ({"header": "Time,Value"}, "first line"),
        ({"RecordID": "8"}, "other numbers"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, record, message):
    write_records(tmp_path, {5: RECORDS[5], 7: RECORDS[7] | record})
    with pytest.raises(ValueError, match=f"set-a.tar.xz: expected a tar file .*{message}"):
        parse_archive(tmp_path / "set-a.tar.xz")


def test_a_cut_archive_and_one_of_other_records_are_refused(tmp_path):
    write_records(tmp_path, RECORDS)
    archive = tmp_path / "set-a.tar.xz"
    with pytest.raises(ValueError, match=r"expected the records of set A .*not theirs"):
        read_measurements(archive, tmp_path / "cache")
    with pytest.raises(ValueError, match=r"expected the outcomes of set A .*not theirs"):
        read_outcomes(tmp_path / "Outcomes-a.txt")
    assert not (tmp_path / "cache").exists()
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(ValueError, match="expected a tar file"):
        parse_archive(archive)


def test_missing_files_say_what_is_wanted(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=f"Outcomes-a.txt in {tmp_path}/physionet2012 or in"):
        physionet2012(tmp_path)
    monkeypatch.delenv("JAXVAE_DATA", raising=False)
    with pytest.raises(ValueError, match=r"in a folder; get them from physionet\.org"):
        physionet2012()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bin_minutes": 7}, "divisor of 2880, got 7"),
        ({"bin_minutes": 0}, "divisor of 2880, got 0"),
        ({"time_unit": 0.0}, "hours above 0"),
    ],
)
def test_impossible_times_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        physionet2012(**arguments)
