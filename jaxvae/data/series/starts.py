"""Which starts of windows are trained on and which are tested on, without leaks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxvae import _check


class Starts(NamedTuple):
    """Indices at which windows may begin.

    Attributes:
        train: those of training series, increasing.
        test: those of test series, increasing.
    """

    train: Int[np.ndarray, "train"]
    test: Int[np.ndarray, "test"]


def starts_between(
    first: int = 100,
    last: int = 399,
    *,
    block: int,
    held_out: Sequence[int],
    gap: int = 99,
) -> Starts:
    """Hold out whole blocks of starts that have training starts on both sides.

    This asks whether a model interpolates between windows it knows. Windows of w points whose
    starts differ by d share w - d points, so with a gap of w - 1, here 99, no point of a test
    window lies in a training window; with a smaller gap the outermost test windows share
    w - 1 - gap points with training. Not disjoint: the points BEYOND a test window, forward and
    backward, do lie in training windows, which start there, but for block - 1 of them at most
    where the gap is w - 1. Both directions of turning are divided alike. The published range of
    300 starts has room for one block with gaps of 99.

    Args:
        first: the first start.
        last: the last one, included.
        block: how many starts make a block; what is left over at the end joins the last one.
        held_out: numbers of the test blocks, counted from 0.
        gap: how many starts on each side of a test block are in neither part.

    Raises:
        ValueError: if a block does not exist or has no training starts on one side.

    Example:
        >>> from jaxvae.data.series import starts_between
        >>> split = starts_between(block=20, held_out=[7])
        >>> len(split.train), split.test.min().item(), split.test.max().item()
        (82, 240, 259)
    """
    starts = _range(first, last, block, gap)
    blocks = np.minimum((starts - first) // block, len(starts) // block - 1)
    test = starts[np.isin(blocks, held_out)]
    if not held_out or not set(held_out) <= set(blocks.tolist()):
        raise ValueError(
            f"held_out expected numbers of blocks from 0 to {blocks[-1]}, got {list(held_out)}"
        )
    distance = np.abs(starts[:, None] - test[None]).min(1)
    train = starts[distance > gap]
    if not train.size or train[0] > test[0] or train[-1] < test[-1]:
        raise ValueError(
            f"held_out expected blocks with training starts before and after them, got "
            f"{list(held_out)} with blocks of {block} and gaps of {gap} in {first} to {last}; "
            "choose smaller blocks or another one, or starts_beyond"
        )
    return Starts(train, test)


def starts_beyond(first: int = 100, last: int = 399, *, block: int, gap: int = 99) -> Starts:
    """Hold out the last starts, past all those that are trained on.

    This asks whether a model extrapolates to parts of the curves that it has never seen. With a
    gap of w - 1 for windows of w points no point of a test window, nor any point after it, lies in
    a training window; points before a test window do, but for block - 1 at most. Of the published
    grid, 100 points follow a window that starts at 300 or before: ``last=300`` makes all test
    series have them.

    Args:
        first: the first start.
        last: the last one, included.
        block: how many starts are tested on.
        gap: how many starts before these are in neither part.

    Raises:
        ValueError: if no start is left to train on.

    Example:
        >>> from jaxvae.data.series import starts_beyond
        >>> split = starts_beyond(last=300, block=20)
        >>> split.train.max().item(), split.test.min().item()
        (181, 281)
    """
    starts = _range(first, last, block, gap)
    if block + gap >= len(starts):
        raise ValueError(
            f"starts_beyond expected fewer than {len(starts)} starts in the block and the gap, got "
            f"{block} and {gap}; none would be left to train on"
        )
    return Starts(starts[: len(starts) - block - gap], starts[len(starts) - block :])


def _range(first: int, last: int, block: int, gap: int) -> Int[np.ndarray, "starts"]:
    _check.positive("block", block)
    _check.not_negative("gap", gap)
    if last - first + 1 < block:
        raise ValueError(f"block expected at most the {last - first + 1} starts, got {block}")
    return np.arange(first, last + 1)
