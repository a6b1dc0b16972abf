"""Static binarisation: grey values as probabilities, drawn once."""

import numpy as np

from jaxvae.data.dataset import PIXEL_STREAM, Dataset, Split, random_stream


def binarise(dataset: Dataset, *, seed: int) -> Dataset:
    r"""Draw each pixel once, $b_i \sim \mathrm{Bernoulli}(x_i)$, in every part.

    The result depends on the seed and on nothing else, so two runs see the same binary images.

    Args:
        dataset: images with values in [0, 1] that have not been binarised.
        seed: of the draws; each part has its own stream.

    Returns:
        The data set with images of zeros and ones.

    Raises:
        ValueError: if the images are binarised already or have values outside [0, 1].

    Reference: Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks.

    Example:
        >>> from jaxvae.data import binarise, load
        >>> binarise(load("digits"), seed=0).binarisation
        'static, seed 0'
    """
    if dataset.binarisation != "none":
        raise ValueError(
            f"{dataset.name} expected grey values, got a binarisation: {dataset.binarisation}; "
            "use it as it is"
        )
    train = _draw(dataset.train, seed, 0, f"{dataset.name} train")
    test = _draw(dataset.test, seed, 1, f"{dataset.name} test")
    validation = dataset.validation
    if validation is not None:
        validation = _draw(validation, seed, 2, f"{dataset.name} validation")
    return Dataset(dataset.name, train, validation, test, f"static, seed {seed}")


def _draw(split: Split, seed: int, part: int, name: str) -> Split:
    grey = split.inputs
    if grey.min() < 0 or grey.max() > 1:
        raise ValueError(
            f"{name}: expected values in [0, 1], got {grey.min():g} to {grey.max():g}; rescale them"
        )
    uniform = random_stream(seed, PIXEL_STREAM, part).random(grey.shape, dtype=np.float32)
    return split._replace(inputs=(uniform < grey).astype(np.float32))
