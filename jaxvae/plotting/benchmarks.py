"""Pictures of measurements: what exactness costs, and what steps cost in memory."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike

from jaxvae.plotting.curves import CYCLE

_MARKERS = "os^vDPX*"
_MIB = 2.0**20


def work_precision(
    panels: Mapping[str, Mapping[str, ArrayLike]], *, labels: tuple[str, str]
) -> Figure:
    """One panel for each problem, one curve for each method: below and to the left is better.

    Args:
        panels: title to the names of the curves to (points, 2) of error and seconds, which are
            joined in the order of the error. Points that are not positive cannot be drawn.
        labels: of the two axes.

    Raises:
        ValueError: if there is no panel, or points are not pairs.
    """
    return _panels("work_precision", panels, labels, 1.0)


def memory_against_steps(panels: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Temporary memory against the number of steps: flat is what does not keep its states.

    Args:
        panels: title to the names of the curves to (points, 2) of steps and bytes.

    Raises:
        ValueError: if there is no panel, or points are not pairs.
    """
    return _panels("memory_against_steps", panels, ("steps", "temporary memory (MiB)"), _MIB)


def _panels(
    owner: str,
    panels: Mapping[str, Mapping[str, ArrayLike]],
    labels: tuple[str, str],
    unit: float,
) -> Figure:
    """Panels with one legend, in which a curve's name has one style."""
    if not panels:
        raise ValueError(f"{owner} expected at least one panel, got none")
    columns = min(3, len(panels))
    rows, entries = -(-len(panels) // columns), 2 * columns - 1
    names = {name for curves in panels.values() for name in curves}
    height = 3.4 * rows + 0.3 + 0.2 * -(-len(names) // entries)
    figure = Figure(figsize=(4.2 * columns, height), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    styles: dict[str, tuple[str, str]] = {}
    fresh = zip(cycle(CYCLE), cycle(_MARKERS), strict=False)
    for axes, (title, curves) in zip(grid, panels.items(), strict=False):
        for name in curves:
            styles.setdefault(name, next(fresh))
        _draw(axes, owner, curves, styles, unit)
        axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
    for axes in grid[len(panels) :]:
        axes.remove()
    shown = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if shown:
        figure.legend(
            shown.values(), shown.keys(), loc="outside lower center", ncols=entries, fontsize=8
        )
    return figure


def _draw(
    axes: Axes,
    owner: str,
    curves: Mapping[str, ArrayLike],
    styles: Mapping[str, tuple[str, str]],
    unit: float,
) -> None:
    for name, given in curves.items():
        points = np.asarray(given, float)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{owner} expected points (number, 2), got {points.shape} for {name}")
        x, y = points[np.argsort(points[:, 0], kind="stable")].T
        colour, marker = styles[name]
        axes.plot(x, y / unit, marker=marker, markersize=4, linewidth=1, color=colour, label=name)
    axes.set(xscale="log", yscale="log")
    axes.set(xlim=_decades(*axes.get_xlim()), ylim=_decades(*axes.get_ylim()))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def _decades(low: float, high: float) -> tuple[float, float]:
    """The powers of ten on both sides: labels between them would overlap."""
    return 10.0 ** np.floor(np.log10(low)), 10.0 ** np.ceil(np.log10(high))
