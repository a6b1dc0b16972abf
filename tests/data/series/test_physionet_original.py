"""The real archive, where there is a folder with it."""

import os

import numpy as np
import pytest

from jaxvae.data.series import PHYSIONET_UNITS, physionet2012
from jaxvae.data.series.physionet_archive import PARAMETERS, find_files, read_measurements

CHANNELS = list(PHYSIONET_UNITS)
HR, WEIGHT, VENTILATION = (CHANNELS.index(name) for name in ("HR", "Weight", "MechVent"))


@pytest.fixture(scope="module")
def archive(data_dir):
    try:
        return find_files(data_dir)[0]
    except ValueError:
        pytest.skip("JAXVAE_DATA has no physionet2012 with set-a.tar.xz")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of its own, so that the archive is parsed."""
    before = os.environ.get("XDG_CACHE_HOME")
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="module")
def measurements(archive, cache):
    return read_measurements(archive, cache / "jaxvae" / "physionet2012")


@pytest.fixture(scope="module")
def raw(measurements, data_dir):
    del measurements
    return physionet2012(data_dir, bin_minutes=1, normalise=False, validation_fraction=0.1)


@pytest.fixture(scope="module")
def scaled(measurements, data_dir):
    del measurements
    return physionet2012(data_dir, time_unit=48.0)


def parts(data):
    return [part for part in (data.train, data.validation, data.test) if part is not None]


def test_the_rows_are_as_many_as_are_known(measurements):
    _, counts = np.unique(measurements.record, return_counts=True)
    # One RecordID in each record is no measurement.
    assert (len(counts), counts.sum() + 4000) == (4000, 1_757_980)
    assert (counts.min() + 1, counts.max() + 1) == (6, 1502)
    assert (measurements.minute.min(), measurements.minute.max()) == (0, 2880)
    of_heart = measurements.parameter == PARAMETERS.index("HR")
    assert of_heart.sum() == 228_538
    assert measurements.value[of_heart].max() == 300


def test_the_outcomes_and_descriptors_are_as_known(raw):
    outcomes = np.concatenate([part.outcomes for part in parts(raw)])
    assert outcomes[:, 4].sum() == 554
    assert (outcomes[:, :4] == -1).sum(0).tolist() == [190, 144, 60, 2526]
    known = np.concatenate([part.descriptor_mask for part in parts(raw)])
    assert (~known).sum(0).tolist() == [0, 3, 1894, 0, 326]
    described = np.concatenate([part.descriptors for part in parts(raw)])
    assert not described[~known].any()
    assert (described[:, 0].min(), described[:, 0].max()) == (15, 90)


def test_the_records_are_divided_without_loss(raw, scaled):
    ids = [set(part.ids.tolist()) for part in parts(raw)]
    assert [len(each) for each in ids] == [2800, 400, 800]
    assert len(set.union(*ids)) == 4000
    # Holding records out for validation leaves the test part alone.
    assert scaled.validation is None
    assert set(scaled.test.ids.tolist()) == ids[2]


def test_by_the_minute_only_values_of_one_minute_are_merged(raw, measurements):
    lengths = np.concatenate([1 + (np.diff(p.series.times) > 0).sum(1) for p in parts(raw)])
    assert lengths.max() == 203
    assert lengths.mean() == pytest.approx(75, abs=0.5)
    observed = sum(part.series.mask.sum((0, 1)) for part in parts(raw))
    # 3,744 rows repeat a variable within a minute, none of the heart rate.
    dynamic = (measurements.parameter < 37).sum() - 326
    assert (observed.sum(), observed[HR]) == (dynamic - 3744, 228_538)
    # What is not observed is 0, and values are those of the files.
    total = sum(part.series.values[..., HR].sum(dtype=float) for part in parts(raw))
    heart = measurements.value[measurements.parameter == PARAMETERS.index("HR")]
    assert total == pytest.approx(heart.sum(dtype=float), rel=1e-12)


def test_training_values_fill_the_unit_interval(scaled):
    series = scaled.train.series
    assert series.values[series.mask].min() == 0
    assert series.values[series.mask].max() == 1
    highest = np.max(series.values, axis=(0, 1), where=series.mask, initial=0)
    assert highest[VENTILATION] == 0
    np.testing.assert_allclose(np.delete(highest, VENTILATION), 1, rtol=1e-6)
    assert not series.values[~series.mask].any()
    # Six minutes are a 480th of 48 hours.
    np.testing.assert_allclose(series.times * 480, np.rint(series.times * 480), atol=1e-4)
    assert (series.times.min(), series.times.max()) == (0, 1)


def test_the_range_does_not_look_at_the_test_part_unless_told(scaled, data_dir):
    everything = physionet2012(data_dir, time_unit=48.0, range_over_all=True)
    assert (everything.low <= scaled.low).all()
    assert (everything.high >= scaled.high).all()
    assert (everything.high > scaled.high).any()
    test = everything.test.series
    assert test.values[test.mask].max() <= 1
    outside = scaled.test.series.values[scaled.test.series.mask]
    assert outside.max() > 1
    # Both are the same numbers in different units.
    span = np.where(scaled.high > scaled.low, scaled.high - scaled.low, 1)
    back = outside_units(scaled.test.series.values, scaled.low, span, scaled.test.series.mask)
    wide = np.where(everything.high > everything.low, everything.high - everything.low, 1)
    again = outside_units(test.values, everything.low, wide, test.mask)
    np.testing.assert_allclose(back, again, rtol=1e-4, atol=1e-2)


def outside_units(values, low, span, mask):
    return np.where(mask, values * span + low, 0)


def test_a_second_reading_takes_the_cache_and_a_damaged_one_does_not_matter(
    archive, cache, measurements
):
    folder = cache / "jaxvae" / "physionet2012"
    (kept,) = folder.glob("*.npz")
    written = kept.stat().st_mtime_ns
    read_measurements(archive, folder)
    assert kept.stat().st_mtime_ns == written
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    for got, expected in zip(read_measurements(archive, folder), measurements, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert bytes(content) != kept.read_bytes()
