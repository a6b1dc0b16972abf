"""The order of the rows in an epoch: any part of a permutation, without computing the rest."""

import math

import numpy as np
from jaxtyping import Int64, UInt32, UInt64

# Follows the tags of dataset.py: a purpose of its own.
_ORDER_STREAM = 3
_ROUNDS = 16


def rows_at(
    positions: Int64[np.ndarray, "n"], *, count: int, seed: int, epoch: int
) -> Int64[np.ndarray, "n"]:
    r"""The rows at some positions in the order of an epoch.

    The order is a permutation of all rows that is a pure function of (seed, epoch). Nothing is
    stored, so that 10^10 rows cost no memory and no time before the first. A position is a pair
    $(l, r)$ on a grid of about $\sqrt{n} \times \sqrt{n}$; each round shifts one half by a hash of
    the other, $l \leftarrow l + h_k(r) \bmod a$, which can be undone and so permutes the grid;
    what falls outside the rows goes through again.

    Args:
        positions: shape (n,), each at least 0 and below ``count``.
        count: number of rows of the data.
        seed: of the order.
        epoch: counted from 0.

    Returns:
        The rows, shape (n,).

    Reference: Black & Rogaway (2002), Ciphers with arbitrary finite domains, section 5 and 4.
    """
    height = math.isqrt(count - 1) + 1
    width = -(-count // height)
    # SeedSequence is the part of numpy's random numbers that never changes from release to release.
    keys = np.random.SeedSequence([seed, _ORDER_STREAM, epoch]).generate_state(2 * _ROUNDS)
    rows = _permuted(positions.astype(np.uint64), height, width, keys)
    outside = np.flatnonzero(rows >= count)
    while outside.size:
        rows[outside] = _permuted(rows[outside], height, width, keys)
        outside = outside[rows[outside] >= count]
    return rows.astype(np.int64)


def _permuted(
    cells: UInt64[np.ndarray, "n"], height: int, width: int, keys: UInt32[np.ndarray, "keys"]
) -> UInt64[np.ndarray, "n"]:
    """Permute the cells 0, …, height * width - 1 of the grid."""
    right, left = np.divmod(cells, np.uint64(height))
    sizes = (np.uint64(height), np.uint64(width))
    for number, pair in enumerate(keys.reshape(-1, 2)):
        size = sizes[number % 2]
        left += _hash(right, pair[0], pair[1]) * size >> np.uint64(32)
        left -= size * (left >= size)
        left, right = right, left
    return right * np.uint64(height) + left


def _hash(
    values: UInt64[np.ndarray, "n"], first: np.uint32, second: np.uint32
) -> UInt64[np.ndarray, "n"]:
    """Mix 32 bits with a key before and one in the middle; constants of C. Wellons' prospector."""
    mixed = values.astype(np.uint32)
    mixed ^= first
    mixed ^= mixed >> 16
    mixed *= np.uint32(0x21F0AAAD)
    mixed += second
    mixed ^= mixed >> 15
    mixed *= np.uint32(0xD35A2D97)
    mixed ^= mixed >> 15
    return mixed.astype(np.uint64)
