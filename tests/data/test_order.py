"""The order of an epoch against what is known of random permutations."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxvae.data.order import rows_at


def order(count, seed=0, epoch=0):
    return rows_at(np.arange(count), count=count, seed=seed, epoch=epoch)


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64), st.integers(0, 2**40))
def test_an_order_has_every_row_once(count, seed, epoch):
    np.testing.assert_array_equal(np.sort(order(count, seed, epoch)), np.arange(count))


@settings(deadline=None)
@given(st.data(), st.integers(1, 2000))
def test_a_part_of_an_order_is_that_part_of_the_whole(data, count):
    positions = data.draw(st.lists(st.integers(0, count - 1), max_size=20))
    part = rows_at(np.array(positions, np.int64), count=count, seed=1, epoch=2)
    np.testing.assert_array_equal(part, order(count, 1, 2)[positions])


def test_more_rows_than_memory_could_order_are_no_trouble():
    rows = rows_at(np.arange(10_000), count=10**13, seed=0, epoch=0)
    assert len(set(rows.tolist())) == 10_000
    assert stats.kstest(rows / 1e13, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_all_orders_of_a_few_rows_are_equally_likely(count, without_type_checks):
    number = {each: n for n, each in enumerate(itertools.permutations(range(count)))}
    drawn = [number[tuple(order(count, n // 8, n % 8).tolist())] for n in range(3000)]
    assert stats.chisquare(np.bincount(drawn, minlength=len(number))).pvalue > 1e-3


def test_orders_of_many_rows_look_random_within_and_between_epochs(without_type_checks):
    count, epochs = 400, 1000
    orders = np.stack([order(count, 5, epoch) for epoch in range(epochs)])
    # Rows that keep their place are Poisson(1), from one epoch to the next as well.
    for fixed in ((orders == np.arange(count)).sum(1), (orders[1:] == orders[:-1]).sum(1)):
        expected = stats.poisson.pmf(np.arange(4), 1)
        expected = np.append(expected, 1 - expected.sum()) * len(fixed)
        observed = np.bincount(np.minimum(fixed, 4), minlength=5)
        assert stats.chisquare(observed, expected).pvalue > 1e-3
    # Ascents are Eulerian: mean (n - 1) / 2, variance (n + 1) / 12.
    ascents = (orders[:, :-1] < orders[:, 1:]).sum(1)
    deviation = np.sqrt((count + 1) / 12)
    assert abs(ascents.mean() - (count - 1) / 2) < 4 * deviation / np.sqrt(epochs)
    assert ascents.std() == pytest.approx(deviation, rel=0.1)
    # Two positions are independent: neighbours, and those that share a half of the grid.
    for other in (1, 20):
        pairs = np.histogram2d(orders[:, 0], orders[:, other], bins=5, range=[[0, count]] * 2)[0]
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


def test_the_order_is_the_same_on_every_machine_and_in_every_release():
    # A run that is resumed years later must find its rows where they were.
    assert order(10, seed=7, epoch=3).tolist() == [2, 3, 8, 1, 4, 7, 6, 0, 9, 5]
