"""The 1797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""

import numpy as np

from jaxvae.data.convert import as_split
from jaxvae.data.dataset import Dataset, hold_out

_TEST_ROWS = 297
_LARGEST = 16.0


def read_digits() -> Dataset:
    """Read the digits, scaled to [0, 1].

    There is no official division: the 297 test rows are always the same ones, drawn at random
    because the digits of one writer lie together.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.reshape(pixels, (-1, 8, 8)) / _LARGEST
    everything = as_split(images, np.asarray(labels), "digits")
    train, test = hold_out(everything, _TEST_ROWS, np.random.default_rng(0))
    return Dataset("digits", train, None, test)
