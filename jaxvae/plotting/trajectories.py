"""Pictures of learnt dynamics: trajectories in the phase plane, errors, methods side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike

from jaxvae.plotting.curves import BLUE, CYCLE, ORANGE


def trajectory_fit(
    truth: ArrayLike,
    learnt: ArrayLike,
    progress: ArrayLike,
    errors: ArrayLike,
    *,
    labels: tuple[str, str],
    title: str,
) -> Figure:
    """A learnt trajectory on the true one, and the error in training (Bath report, figure 16).

    Args:
        truth: (time, 2), the true trajectory.
        learnt: (time, 2), the learnt one.
        progress: (lines,) epochs or steps at which errors are known.
        errors: (lines, seeds), positive; several seeds are shown by their geometric mean and
            their range.
        labels: of the right panel's axes.
        title: of the phase plane.

    Raises:
        ValueError: if a trajectory is not in the plane, or there is not one line for each error.
    """
    true_path, path, along, values = (np.asarray(x) for x in (truth, learnt, progress, errors))
    if true_path.shape[1:] != (2,) or path.shape[1:] != (2,):
        raise ValueError(
            f"trajectory_fit expected trajectories (time, 2), got {true_path.shape} and "
            f"{path.shape}; choose two coordinates"
        )
    if values.ndim != 2 or along.shape != values.shape[:1]:
        raise ValueError(
            "trajectory_fit expected errors (lines, seeds) at as many places, got "
            f"{values.shape} and {along.shape}"
        )
    figure = Figure(figsize=(10.0, 4.6), dpi=150, layout="constrained")
    plane, curve = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    plane.plot(*true_path.T, color=BLUE, linewidth=4, alpha=0.5, label="true")
    plane.plot(*path.T, "--", color=ORANGE, linewidth=1.5, label="learnt")
    plane.plot(*true_path[0], "o", color="black", markersize=5, label="start")
    plane.set_aspect("equal", adjustable="datalim")
    plane.set(xlabel="x", ylabel="y", title=title)
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    mean = np.exp(np.mean(np.log(values), axis=1))
    curve.semilogy(along, mean, ".-", color=BLUE, markersize=3, linewidth=1)
    if values.shape[1] > 1:
        low, high = values.min(axis=1), values.max(axis=1)
        curve.fill_between(along, low, high, color=BLUE, alpha=0.25, linewidth=0)
    curve.set(xlabel=labels[0], ylabel=labels[1], title="Training")
    for axes in (plane, curve):
        axes.grid(alpha=0.3)
    return figure


def dot_panels(
    names: Sequence[str], panels: Mapping[str, Sequence[float]], *, title: str
) -> Figure:
    """Several positive measures of the same methods: a panel for each, a row for each name.

    Args:
        names: of the methods, the first on top.
        panels: label with its unit to one number for each name, on logarithmic axes.
        title: above all panels.

    Raises:
        ValueError: if a panel has not one positive number for each name.
    """
    for label, values in panels.items():
        if len(values) != len(names) or not np.all(np.asarray(values) > 0):
            raise ValueError(
                f"dot_panels expected {len(names)} positive numbers of {label}, got {list(values)}"
            )
    size = (3.0 * len(panels) + 1.4, 0.5 * len(names) + 1.5)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    rows = range(len(names))
    for axes, colour, (label, values) in zip(every, CYCLE, panels.items(), strict=False):
        axes.hlines(rows, 0.5 * min(values), values, color=colour, alpha=0.4, linewidth=1)
        axes.plot(values, rows, "o", color=colour)
        for row, value in zip(rows, values, strict=True):
            axes.annotate(
                f"{value:.2g}", (value, row), (0, 6), textcoords="offset points", ha="center"
            )
        axes.set_xscale("log")
        # Labels between the powers of ten run into each other in a panel of less than a decade.
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(0.5 * min(values), 3.0 * max(values))
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.3)
    every[0].set_yticks(rows, [name.replace("_", " ") for name in names])
    every[0].set_ylim(len(names) - 0.5, -0.7)
    figure.suptitle(title)
    return figure
