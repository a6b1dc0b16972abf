import numpy as np
import pytest

from jaxvae.data.series import starts_between, starts_beyond


def points(starts, first=0, length=100):
    """All points of windows, or of what lies ``first`` points from their starts."""
    return set((np.asarray(starts)[:, None] + np.arange(first, first + length)).ravel().tolist())


@pytest.mark.parametrize("split", [starts_between(block=20, held_out=[7]), starts_beyond(block=60)])
def test_windows_of_test_series_share_no_point_with_training(split):
    assert not points(split.train) & points(split.test)


def test_with_the_default_gap_no_start_is_given_away():
    # The nearest training starts are exactly a window away.
    split = starts_between(block=20, held_out=[7])
    assert split.test.tolist() == list(range(240, 260))
    assert split.train.tolist() == [*range(100, 141), *range(359, 400)]
    split = starts_beyond(block=60)
    assert split.test.tolist() == list(range(340, 400))
    assert split.train.tolist() == list(range(100, 241))


def test_beyond_keeps_what_follows_a_test_window_unseen_and_between_does_not():
    beyond = starts_beyond(last=300, block=20)
    assert not points(beyond.train) & points(beyond.test, 100)
    assert max(beyond.test) + 200 <= 500
    between = starts_between(block=20, held_out=[7])
    assert points(between.train) & points(between.test, 100)
    assert points(between.train) & points(between.test, -100)


@pytest.mark.parametrize("gap", [0, 10, 50])
def test_a_smaller_gap_shares_as_many_points_as_is_said(gap):
    for split in (
        starts_between(block=30, held_out=[4, 6], gap=gap),
        starts_beyond(block=30, gap=gap),
    ):
        shared = [
            len(points([test]) & points([train])) for test in split.test for train in split.train
        ]
        assert max(shared) == 99 - gap
        assert not set(split.train.tolist()) & set(split.test.tolist())


def test_several_blocks_may_be_held_out():
    split = starts_between(0, 24, block=5, held_out=[1, 3], gap=0)
    assert split.test.tolist() == [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]
    assert split.train.tolist() == [*range(5), *range(10, 15), *range(20, 25)]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block": 20, "held_out": [15]}, r"blocks from 0 to 14, got \[15\]"),
        ({"block": 20, "held_out": []}, r"got \[\]"),
        ({"block": 20, "held_out": [0]}, "before and after"),
        ({"block": 20, "held_out": [14]}, "before and after"),
        ({"block": 20, "held_out": [3]}, "before and after"),
        ({"block": 250, "held_out": [0]}, "before and after"),
        ({"block": 301, "held_out": [0]}, "at most the 300 starts"),
        ({"block": 0, "held_out": [0]}, "block expected a positive"),
        ({"block": 20, "held_out": [7], "gap": -1}, "gap expected"),
    ],
)
def test_impossible_blocks_between_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        starts_between(**arguments)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block": 201}, "fewer than 300 starts .* got 201 and 99"),
        ({"block": 0}, "block expected a positive"),
        ({"block": 10, "first": 300, "last": 299}, "at most the 0 starts"),
    ],
)
def test_an_impossible_block_beyond_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        starts_beyond(**arguments)


def test_one_training_start_is_enough():
    assert starts_beyond(block=200).train.tolist() == [100]
