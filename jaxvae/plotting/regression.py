"""Pictures of regression: fitted curves, and errors in and out of sample."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike

from jaxvae.plotting.curves import BLUE, CYCLE, GREY, ORANGE


def fitted_curves(
    points: tuple[ArrayLike, ArrayLike],
    grid: ArrayLike,
    truths: Sequence[ArrayLike],
    fits: Sequence[Mapping[str, ArrayLike]],
    titles: Sequence[str],
) -> Figure:
    """Noisy points, the function behind them and fits of it, a panel each (Bath report, figure 5).

    Args:
        points: x of shape (number,), and y of shape (panels, number).
        grid: (positions,) where the curves are evaluated.
        truths: for each panel the (positions,) values of the function.
        fits: for each panel label to (positions,) values of a fit.
        titles: one for each panel.

    Raises:
        ValueError: if there is not one title and one set of fits for each panel.
    """
    if not len(truths) == len(fits) == len(titles) > 0:
        raise ValueError(
            "fitted_curves expected as many truths as fits and titles, got "
            f"{len(truths)}, {len(fits)} and {len(titles)}"
        )
    number = len(truths)
    figure = Figure(figsize=(4.6 * number, 4.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, number, sharex=True, squeeze=False)[0]
    x, all_y = (np.asarray(values) for values in points)
    positions = np.asarray(grid)
    for axes, y, truth, curves, title in zip(panels, all_y, truths, fits, titles, strict=True):
        axes.plot(x, y, ".", color=GREY, markersize=4, label="data")
        axes.plot(positions, np.asarray(truth), "--", color="black", linewidth=1.5, label="f(x)")
        for colour, (label, curve) in zip(CYCLE, curves.items(), strict=False):
            axes.plot(positions, np.asarray(curve), color=colour, label=label)
        axes.set(xlabel="x", title=title)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    panels[0].set_ylabel("y")
    return figure


def error_curves(
    against: ArrayLike,
    in_sample: ArrayLike,
    out_of_sample: ArrayLike,
    *,
    limit: ArrayLike,
    label: str,
    title: str,
    logarithmic: bool = False,
) -> Figure:
    """Mean errors over data sets with their 10% to 90% bands (Bath report, figures 3 and 4).

    Args:
        against: (settings,) number of points, degree, or whatever varies.
        in_sample: (settings, data sets).
        out_of_sample: the same shape.
        limit: (settings,) the error with infinitely many points, which both tend to.
        label: of the horizontal axis.
        title: above.
        logarithmic: whether both axes are.
    """
    x = np.asarray(against)
    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    drawn = (
        ("in-sample error", in_sample, BLUE, "o"),
        ("out-of-sample error", out_of_sample, ORANGE, "s"),
    )
    for name, values, colour, marker in drawn:
        values = np.asarray(values)
        low, high = np.quantile(values, (0.1, 0.9), axis=1)
        axes.plot(x, values.mean(axis=1), color=colour, marker=marker, markersize=4, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(
        x, np.asarray(limit), "--", color="black", linewidth=1, label="infinitely many points"
    )
    if logarithmic:
        for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=label, ylabel="mean squared error", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
