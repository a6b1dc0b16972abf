"""Pictures of estimation: densities over samples, objectives and descent, estimated gradients."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxvae.plotting.curves import BLUE, CYCLE, GREY, ORANGE, PURPLE, SKY


def density_fits(
    samples: ArrayLike, grid: ArrayLike, densities: Mapping[str, ArrayLike], *, name: str = "x"
) -> Figure:
    """One histogram of samples in each panel, and one density over it (Bath report, figure 1).

    Args:
        samples: (number,).
        grid: (points,) where the densities are evaluated.
        densities: title of the panel to the (points,) values.
        name: of the variable.

    Raises:
        ValueError: if there is no density.
    """
    if not densities:
        raise ValueError("density_fits expected at least one density, got none")
    number = len(densities)
    figure = Figure(figsize=(3.0 * number + 0.6, 3.0), dpi=150, layout="constrained")
    panels = figure.subplots(1, number, sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, density) in zip(panels, densities.items(), strict=True):
        axes.hist(np.asarray(samples), bins=30, density=True, color=BLUE, alpha=0.35, label="data")
        axes.plot(np.asarray(grid), np.asarray(density), color=ORANGE, label="model")
        axes.set(xlabel=name, title=title)
    panels[0].set_ylabel("density")
    panels[0].legend(loc="upper left")
    return figure


def objective_curve(
    grid: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    marked: Mapping[str, float],
    labels: tuple[str, str],
) -> Figure:
    """Functions of one parameter; the first is a line, the others are circles on top of it.

    Args:
        grid: (points,) values of the parameter.
        curves: name to (points,) values.
        marked: name to the value of the parameter where a vertical line stands, at most three.
        labels: of the two axes.
    """
    parameter = np.asarray(grid)
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    few = slice(None, None, max(1, len(parameter) // 20))
    for number, (name, values) in enumerate(curves.items()):
        values, colour = np.asarray(values), CYCLE[number % len(CYCLE)]
        if number == 0:
            axes.plot(parameter, values, color=colour, label=name)
        else:
            axes.plot(
                parameter[few], values[few], "o", color=colour, markerfacecolor="none", label=name
            )
    # A broad line below a narrow one, as two that agree would otherwise be one.
    looks = ((SKY, 5.0, "-"), ("black", 1.0, "--"), (PURPLE, 1.5, ":"))
    for look, (name, value) in zip(looks, marked.items(), strict=False):
        colour, width, style = look
        axes.axvline(value, color=colour, linewidth=width, linestyle=style, zorder=0.5, label=name)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.3)
    axes.legend(framealpha=1.0)
    return figure


def descent_paths(
    grid: ArrayLike,
    potential: ArrayLike,
    paths: Sequence[ArrayLike],
    heights: Sequence[ArrayLike],
    titles: Sequence[str],
    *,
    labels: tuple[str, str] = ("θ", "E(θ)"),
) -> Figure:
    """Steps of gradient descent on a potential, a panel each (Bath report, figure 2).

    A path is drawn up to where it leaves the grid.

    Args:
        grid: (points,) values of the parameter.
        potential: (points,) its values there.
        paths: for each panel the (steps,) values of the parameter.
        heights: the potential along each path.
        titles: one for each panel.
        labels: of the two axes.

    Raises:
        ValueError: if there is not one title and one array of heights for each path.
    """
    if not len(paths) == len(heights) == len(titles) > 0:
        raise ValueError(
            "descent_paths expected as many paths as heights and titles, got "
            f"{len(paths)}, {len(heights)} and {len(titles)}"
        )
    low, high = np.min(grid), np.max(grid)
    rows = math.ceil(len(paths) / 2)
    figure = Figure(figsize=(7.6, 3.0 * rows + 0.3), dpi=150, layout="constrained")
    panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    for axes, path, height, title in zip(panels.flat, paths, heights, titles, strict=False):
        axes.plot(np.asarray(grid), np.asarray(potential), color=GREY, linewidth=1)
        path, height = np.asarray(path), np.asarray(height)
        inside = (path >= low) & (path <= high)
        shown = len(path) if inside.all() else int(np.argmin(inside))
        axes.plot(path[:shown], height[:shown], ".-", color=BLUE, markersize=6, linewidth=1)
        axes.plot(path[:1], height[:1], "o", color=ORANGE, label="start")
        axes.set_title(title, fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel(labels[0])
    for axes in panels[:, 0]:
        axes.set_ylabel(labels[1])
    for axes in panels.flat[len(paths) :]:
        axes.axis("off")
    panels[0, 0].legend(loc="upper center")
    return figure


class SampledDistribution(NamedTuple):
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


def sampled_distributions(panels: Sequence[SampledDistribution], *, columns: int = 4) -> Figure:
    """Samples against their density, and estimates of a gradient with two standard errors.

    Raises:
        ValueError: if there is no distribution.
    """
    if not panels:
        raise ValueError("sampled_distributions expected at least one distribution, got none")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(3.3 * columns, 3.6 * rows + 0.4), dpi=130, layout="constrained")
    cells = figure.add_gridspec(rows, columns)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts = cells[row, column].subgridspec(2, 1, height_ratios=(3, 1))
        upper, lower = (figure.add_subplot(part) for part in (parts[0], parts[1]))
        _draw_samples(upper, panel)
        _draw_estimates(lower, panel)
        if number == 0:
            handles = [*upper.get_legend_handles_labels()[0], lower.lines[0]]
            words = ["samples g(ε)", "density", "exact gradient, beside two standard errors"]
            figure.legend(handles, words, loc="outside upper center", ncols=3)
    return figure


def _draw_samples(axes: Axes, panel: SampledDistribution) -> None:
    samples, grid = np.asarray(panel.samples), np.asarray(panel.grid)
    edges = np.linspace(grid[0], grid[-1], 51)
    # Of all samples, those beyond the range included, so that the heights are densities.
    heights = np.histogram(samples, edges)[0] / (len(samples) * (edges[1] - edges[0]))
    axes.stairs(heights, edges, fill=True, color=SKY, alpha=0.5, label="samples g(ε)")
    axes.plot(grid, np.asarray(panel.density), color=BLUE, linewidth=1.5, label="density")
    axes.set_ylim(bottom=0.0)
    axes.set_yticks([])
    axes.set_title(panel.title, fontsize=11)


def _draw_estimates(axes: Axes, panel: SampledDistribution) -> None:
    axes.axvline(panel.exact, color="black", linestyle="--", linewidth=1)
    for height, (colour, (mean, error)) in enumerate(
        zip((BLUE, ORANGE), panel.estimates.values(), strict=False)
    ):
        axes.errorbar(mean, height, xerr=2 * error, fmt="o", color=colour, markersize=4, capsize=3)
    axes.set_yticks(range(len(panel.estimates)), list(panel.estimates), fontsize=8)
    axes.set_ylim(len(panel.estimates) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(f"{panel.gradient}\n{panel.remark}", fontsize=9)
