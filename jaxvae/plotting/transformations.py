"""Pictures of reparameterised samples and of the gradients that they give."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxvae.plotting.palette import BLUE, ORANGE, SKY


class SampledLaw(NamedTuple):
    """What one panel shows.

    Attributes:
        title: of the panel.
        samples: (number,).
        grid: (points,), which is also the range of the histogram.
        density: (points,) on the grid.
        gradient: what is estimated, in words or LaTeX.
        exact: the gradient in closed form.
        estimates: estimator to mean and standard error.
        remark: below the estimates.
    """

    title: str
    samples: ArrayLike
    grid: ArrayLike
    density: ArrayLike
    gradient: str
    exact: float
    estimates: Mapping[str, tuple[float, float]]
    remark: str


def sampled_laws(laws: Sequence[SampledLaw], *, columns: int = 4) -> Figure:
    """Samples against their density, and estimates of a gradient with two standard errors.

    Raises:
        ValueError: if there is no law.
    """
    if not laws:
        raise ValueError("sampled_laws expected at least one law, got none")
    columns = min(columns, len(laws))
    rows = math.ceil(len(laws) / columns)
    figure = Figure(figsize=(3.3 * columns, 3.6 * rows + 0.4), dpi=130, layout="constrained")
    cells = figure.add_gridspec(rows, columns)
    for number, law in enumerate(laws):
        row, column = divmod(number, columns)
        parts = cells[row, column].subgridspec(2, 1, height_ratios=(3, 1))
        upper, lower = (figure.add_subplot(part) for part in (parts[0], parts[1]))
        _draw_samples(upper, law)
        _draw_estimates(lower, law)
        if number == 0:
            handles = [*upper.get_legend_handles_labels()[0], lower.lines[0]]
            words = ["samples g(ε)", "density", "exact gradient, beside two standard errors"]
            figure.legend(handles, words, loc="outside upper center", ncols=3)
    return figure


def _draw_samples(axes: Axes, law: SampledLaw) -> None:
    samples, grid = np.asarray(law.samples), np.asarray(law.grid)
    edges = np.linspace(grid[0], grid[-1], 51)
    # Of all samples, those beyond the range included, so that the heights are densities.
    heights = np.histogram(samples, edges)[0] / (len(samples) * (edges[1] - edges[0]))
    axes.stairs(heights, edges, fill=True, color=SKY, alpha=0.5, label="samples g(ε)")
    axes.plot(grid, np.asarray(law.density), color=BLUE, linewidth=1.5, label="density")
    axes.set_ylim(bottom=0.0)
    axes.set_yticks([])
    axes.set_title(law.title, fontsize=11)


def _draw_estimates(axes: Axes, law: SampledLaw) -> None:
    axes.axvline(law.exact, color="black", linestyle="--", linewidth=1)
    for height, (colour, (mean, error)) in enumerate(
        zip((BLUE, ORANGE), law.estimates.values(), strict=False)
    ):
        axes.errorbar(mean, height, xerr=2 * error, fmt="o", color=colour, markersize=4, capsize=3)
    axes.set_yticks(range(len(law.estimates)), list(law.estimates), fontsize=8)
    axes.set_ylim(len(law.estimates) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(f"{law.gradient}\n{law.remark}", fontsize=9)
