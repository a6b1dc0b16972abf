"""Grids of images."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxvae import _check


def image_grid(images: ArrayLike, *, columns: int = 8, title: str = "") -> Figure:
    """Images side by side, black on white, on one common scale from 0 to 1.

    Args:
        images: (number, height, width) or (number, height, width, 3).
        columns: images in a row.
        title: text above.

    Raises:
        ValueError: if the array has another rank.
    """
    canvas = mosaic(np.asarray(images), columns)
    height, width = canvas.shape[:2]
    tall, above = 6.0 * height / width, 0.35 if title else 0.0
    figure = Figure(figsize=(6.1, tall + above + 0.1), dpi=150)
    left, bottom = 0.05 / 6.1, 0.05 / (tall + above + 0.1)
    axes = figure.add_axes((left, bottom, 1 - 2 * left, tall / (tall + above + 0.1)))
    axes.imshow(canvas, cmap="gray_r", vmin=0.0, vmax=1.0)
    axes.axis("off")
    if title:
        axes.set_title(title)
    return figure


def reconstructions(originals: ArrayLike, reconstructed: ArrayLike, *, columns: int = 10) -> Figure:
    """Rows of originals, each above the row of what the model makes of them.

    Args:
        originals: (number, height, width) or (number, height, width, 3).
        reconstructed: the same shape.
        columns: images in a row.

    Raises:
        ValueError: if the shapes differ.
    """
    above, below = np.asarray(originals), np.asarray(reconstructed)
    if above.shape != below.shape:
        raise ValueError(
            f"reconstructions expected two arrays of one shape, got {above.shape} and {below.shape}"
        )
    number = len(above) // columns * columns or len(above)
    columns = min(columns, number)
    pairs = np.stack(
        [a[:number].reshape(-1, columns, *a.shape[1:]) for a in (above, below)], axis=1
    )
    return image_grid(
        pairs.reshape(-1, *above.shape[1:]),
        columns=columns,
        title="Originals above reconstructions",
    )


def traversals(images: ArrayLike, *, labels: list[str], extent: float = 2.5) -> Figure:
    """One row for each latent dimension, its value growing from left to right.

    Args:
        images: (dimensions, steps, height, width), with a last axis of 3 for colours.
        labels: a name for each row.
        extent: the values lead from -extent to extent, as in ``latent_paths``.

    Raises:
        ValueError: if there is not one label for each row.
    """
    rows = np.asarray(images)
    if len(labels) != len(rows):
        raise ValueError(f"traversals expected {len(rows)} labels, got {len(labels)}")
    canvas = mosaic(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])
    height, width = canvas.shape[:2]
    # Labels take about 1.4 inches of the width.
    figure = Figure(figsize=(7.0, 5.6 * height / width + 0.7), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, cmap="gray_r", vmin=0.0, vmax=1.0)
    axes.set_yticks((np.arange(len(rows)) + 0.5) * height / len(rows), labels)
    steps = rows.shape[1]
    shown = sorted({0, steps // 2, steps - 1})
    values = np.linspace(-extent, extent, steps)
    centres = [(step + 0.5) * width / steps for step in shown]
    axes.set_xticks(centres, [f"{values[step]:g}" for step in shown])
    axes.set_title("Latent traversals")
    return figure


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """One large array of many images, with a white line between them."""
    colours = images.shape[-1] if images.ndim == 4 else 1
    if images.ndim not in (3, 4) or colours not in (1, 3) or len(images) == 0:
        raise ValueError(
            "expected images of shape (number, height, width), or with a last axis of 3 for "
            f"colours, got {images.shape}; reshape rows of pixels first"
        )
    _check.positive("columns", columns)
    gaps = [(0, 1), (0, 1), (0, 0)][: images.ndim - 1]
    background = 0.0 if images.ndim == 3 else 1.0
    padded = np.pad(images, [(0, 0), *gaps], constant_values=background)
    rows = math.ceil(len(padded) / columns)
    missing = rows * columns - len(padded)
    padded = np.pad(
        padded, [(0, missing)] + [(0, 0)] * (images.ndim - 1), constant_values=background
    )
    grid = padded.reshape(rows, columns, *padded.shape[1:])
    joined = np.concatenate(np.concatenate(list(grid), axis=1), axis=1)
    return joined[:-1, :-1]
