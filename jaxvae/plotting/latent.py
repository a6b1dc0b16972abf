"""Pictures of a two-dimensional latent space."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxvae.plotting.images import mosaic


def latent_scatter(
    means: ArrayLike, labels: ArrayLike | None = None, *, names: tuple[str, str] = ("z1", "z2")
) -> Figure:
    """Posterior means in the plane, coloured by label (Bath report, figure 12a).

    Args:
        means: (number, 2).
        labels: (number,) integers or names, if known.
        names: of the two axes.

    Raises:
        ValueError: if the means are not pairs.
    """
    points = np.asarray(means)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(
            f"latent_scatter expected means of shape (number, 2), got {points.shape}; "
            "choose two dimensions first"
        )
    figure = Figure(figsize=(6.4, 5.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    style = {"s": min(20.0, 3e4 / len(points)), "alpha": 0.6, "linewidths": 0}
    if labels is None:
        axes.scatter(*points.T, **style)
    else:
        classes, numbers = np.unique(np.asarray(labels), return_inverse=True)
        colours = colormaps["tab10" if len(classes) <= 10 else "turbo"].resampled(len(classes))
        edges = BoundaryNorm(np.arange(len(classes) + 1) - 0.5, len(classes))
        drawn = axes.scatter(*points.T, c=numbers, cmap=colours, norm=edges, **style)
        bar = figure.colorbar(drawn, ax=axes, ticks=np.arange(len(classes)), label="label")
        bar.ax.set_yticklabels([str(name) for name in classes])
        bar.solids.set_alpha(1.0)  # pyright: ignore[reportOptionalMemberAccess]
    axes.set(xlabel=names[0], ylabel=names[1], title="Posterior means", aspect="equal")
    return figure


def latent_grid(size: int = 30, extent: float = 2.0) -> np.ndarray:
    """Latent points of a manifold picture: (size * size, 2), z1 rightwards and z2 upwards.

    Args:
        size: points along each axis.
        extent: the square reaches from -extent to extent.
    """
    values = np.linspace(-extent, extent, size, dtype=np.float32)
    upwards, rightwards = np.meshgrid(values[::-1], values, indexing="ij")
    return np.stack([rightwards.ravel(), upwards.ravel()], axis=1)


def latent_paths(
    origin: ArrayLike, dimensions: ArrayLike, *, steps: int = 11, extent: float = 2.5
) -> np.ndarray:
    """Straight paths through a latent point: (dimensions, steps, latent).

    Args:
        origin: the point, (latent,).
        dimensions: indices of the axes that are followed, one at a time.
        steps: points on each path.
        extent: a path leads from -extent to extent.
    """
    axes = np.asarray(dimensions)
    paths = np.tile(np.asarray(origin, np.float32), (len(axes), steps, 1))
    for path, axis in zip(paths, axes, strict=True):
        path[:, axis] = np.linspace(-extent, extent, steps)
    return paths


def manifold(images: ArrayLike, *, extent: float = 2.0) -> Figure:
    """What the decoder makes of ``latent_grid`` (Bath report, figure 12b).

    Args:
        images: (size * size, height, width), in the order of ``latent_grid``.
        extent: that of the grid.

    Raises:
        ValueError: if the images do not fill a square.
    """
    decoded = np.asarray(images)
    size = round(len(decoded) ** 0.5)
    if size * size != len(decoded):
        raise ValueError(f"manifold expected a square number of images, got {len(decoded)}")
    figure = Figure(figsize=(7.0, 7.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    edges = (-extent, extent, -extent, extent)
    axes.imshow(mosaic(decoded, size), cmap="gray_r", vmin=0.0, vmax=1.0, extent=edges)
    axes.set(xlabel="z1", ylabel="z2", title="Decoded latent plane")
    return figure
