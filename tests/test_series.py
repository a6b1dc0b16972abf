import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae.series import TimeSeries, pad, subsample, unpad


def ragged(seed, lengths, channels=3):
    generator = np.random.default_rng(seed)
    made = []
    for length in lengths:
        times = np.cumsum(generator.uniform(0.1, 1, length))
        mask = generator.random((length, channels)) < 0.6
        made.append(TimeSeries(times, np.where(mask, generator.normal(size=mask.shape), 0), mask))
    return made


def one(times, values=None, mask=None):
    times = np.asarray(times, float)
    values = np.zeros((len(times), 1)) if values is None else np.asarray(values, float)
    return TimeSeries(times, values, np.ones(values.shape, bool) if mask is None else mask)


def test_padding_round_trips():
    series = ragged(0, [4, 1, 9, 6])
    # The last row of a series need not be observed to be a row of it.
    series[0].mask[-1] = False
    series[0].values[-1] = 0
    for back, original in zip(unpad(pad(series)), series, strict=True):
        for got, expected in zip(back, original, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_padding_repeats_the_last_time_and_observes_nothing():
    series = ragged(1, [2, 5])
    batch = pad(series)
    np.testing.assert_array_equal(batch.times[0, 2:], series[0].times[-1])
    assert not batch.mask[0, 2:].any()
    assert not batch.values[0, 2:].any()
    assert batch.mask.sum() == sum(each.mask.sum() for each in series)


def test_what_is_not_observed_becomes_zero_even_if_it_was_nan():
    mask = np.array([[True, False], [False, True]])
    batch = pad([one([0, 1], [[1, np.nan], [np.nan, 2]], mask)])
    np.testing.assert_array_equal(batch.values[0], [[1, 0], [0, 2]])


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "at least one series"),
        ([one([0, 1]), one([])], "series 1 expected at least one row"),
        ([one([0, 2, 1])], r"series 0 .*strictly, got 2.0 before 1.0 in row 2; sort"),
        ([one([0, 1, 1])], r"strictly, got 1.0 before 1.0 in row 2"),
        ([one([0, np.nan])], "finite times"),
        ([one([0, np.inf])], "finite times"),
        ([one([0, 1], [[0], [np.nan]])], "finite observed values"),
        ([one([0, 1]), one([0], np.zeros((1, 2)))], r"equally many channels, got \[1, 2\]"),
        ([one([0, 1], np.zeros((3, 1)))], r"got times \(2,\), values \(3, 1\)"),
        ([one([0, 1], np.zeros((2, 1)), np.ones((2, 2), bool))], r"mask \(2, 2\)"),
    ],
)
def test_unsound_series_are_refused(series, message):
    with pytest.raises(ValueError, match=message):
        pad(series)


def numbered(rows, observed=None):
    """A series whose values are the numbers of the rows, counted from 1."""
    mask = np.ones((rows, 2), bool) if observed is None else np.stack([observed] * 2, -1)
    values = np.where(mask, np.arange(1, rows + 1)[:, None], 0).astype(np.float32)
    return TimeSeries(jnp.arange(0, rows / 4, 0.25), jnp.asarray(values), jnp.asarray(mask))


@pytest.mark.parametrize("count", [1, 30, 99, 100])
def test_subsampling_keeps_order_and_never_repeats(count):
    keys = jax.random.split(jax.random.key(0), 50)
    draw = jax.jit(jax.vmap(lambda key: subsample(numbered(100), count, key=key)))
    drawn = draw(keys)
    rows = np.asarray(drawn.values[..., 0])
    assert rows.shape == (50, count)
    assert (np.diff(rows, axis=1) > 0).all()
    # Rows stay whole: time and both channels belong together.
    np.testing.assert_array_equal(drawn.times, (rows - 1) / 4)
    np.testing.assert_array_equal(drawn.values[..., 1], rows)
    assert np.asarray(drawn.mask).all()


def test_every_pair_of_observed_rows_is_equally_likely():
    observed = np.array([True, False, True, True, False, True, True])
    keys = jax.random.split(jax.random.key(1), 100_000)
    series = numbered(7, observed)
    rows = jax.jit(jax.vmap(lambda key: subsample(series, 2, key=key).values[:, 0]))(keys)
    _, counts = np.unique(np.asarray(rows), axis=0, return_counts=True)
    assert len(counts) == 10
    assert stats.chisquare(counts).pvalue > 1e-3


def test_where_too_few_are_observed_the_rest_is_padding():
    observed = np.array([False, True, False, True, False, False])
    drawn = jax.jit(lambda key: subsample(numbered(6, observed), 4, key=key))(jax.random.key(2))
    np.testing.assert_array_equal(drawn.times, [0.25, 0.75, 0.75, 0.75])
    np.testing.assert_array_equal(drawn.values[:, 0], [2, 4, 0, 0])
    np.testing.assert_array_equal(drawn.mask[:, 0], [True, True, False, False])


def test_a_row_is_observed_if_any_channel_is():
    mask = jnp.array([[True, False], [False, False], [False, True]])
    series = TimeSeries(jnp.arange(3.0), jnp.where(mask, 5.0, 0.0), mask)
    drawn = jax.jit(lambda key: subsample(series, 2, key=key))(jax.random.key(3))
    np.testing.assert_array_equal(drawn.times, [0, 2])
    np.testing.assert_array_equal(drawn.mask, mask[jnp.array([0, 2])])


def test_the_draw_follows_the_key_alone():
    draw = jax.jit(lambda seed: subsample(numbered(100), 30, key=jax.random.key(seed)).times)
    np.testing.assert_array_equal(draw(4), draw(4))
    assert not np.array_equal(draw(4), draw(5))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(("count", "message"), [(0, "positive"), (8, "at most 7"), (0.5, "posit")])
def test_an_impossible_count_is_refused(count, message):
    with pytest.raises(ValueError, match=f"count expected .*{message}"):
        subsample(numbered(7), count, key=jax.random.key(0))
