"""Pictures of series that are continued beyond what was observed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxvae.plotting.curves import BLUE, CYCLE, GREY, ORANGE

_OF_GROUPS = tuple(color for color in CYCLE if color not in (BLUE, ORANGE))


def forecasts(
    found: Mapping[str, ArrayLike],
    truth: ArrayLike,
    observed: ArrayLike,
    *,
    window: tuple[int, int],
    draws: Mapping[str, ArrayLike] | None = None,
    states: ArrayLike | None = None,
    groups: Mapping[str, ArrayLike] | None = None,
    title: str = "",
) -> Figure:
    """Series in the plane, what models make of them, and latent paths (Bath report, figure 20).

    Args:
        found: for each model (series, time, 2); NaN where it says nothing.
        truth: (series, time, 2), NaN where there is none.
        observed: (series, point, 2), NaN where nothing was observed.
        window: the first time index that was observed and the first one after.
        draws: for some of the models further paths (series, draw, time, 2), drawn thin.
        states: (path, time, latent), drawn in a panel of their own in their first two principal
            components; NaN where there is none.
        groups: name of each colour of the paths, and which of them have it (path,).
        title: of the figure.

    Raises:
        ValueError: if shapes do not fit together, a series is not in the plane, or there are
            more groups than colours.
    """
    true_paths, dots = np.asarray(truth), np.asarray(observed)
    latent = None if states is None else np.asarray(states)
    members = {name: np.asarray(own, bool) for name, own in (groups or {}).items()}
    paths = {name: np.asarray(each) for name, each in found.items()}
    thin = {name: np.asarray(each) for name, each in (draws or {}).items()}
    _check_paths(true_paths, paths, thin)
    _check_observed(true_paths, dots, window)
    _check_states(latent, members)
    low, high = np.nanmin(true_paths, axis=(0, 1)), np.nanmax(true_paths, axis=(0, 1))
    height = 1.5 + len(paths) * (0.4 + 5.2 * min((high - low)[1] / (high - low)[0], 1.0))
    shown = latent is not None
    figure = Figure(figsize=(6.0 * (1 + shown), height), dpi=150, layout="constrained")
    grid = figure.add_gridspec(len(paths), 1 + shown)
    axes = [figure.add_subplot(grid[row, 0]) for row in range(len(paths))]
    for panel, (name, each) in zip(axes, paths.items(), strict=True):
        for draw in np.moveaxis(thin.get(name, each[:, None][:, :0]), 1, 0):
            style = {"color": ORANGE, "linewidth": 0.5, "alpha": 0.4}
            first, *_ = panel.plot(draw[..., 0].T, draw[..., 1].T, **style)
            first.set_label("draws")
        _draw_forecasts(panel, each, true_paths, dots, window)
        panel.set(title=name, ylabel="y")
        panel.label_outer()
    axes[-1].set(xlabel="x")
    if latent is not None:
        axes.append(figure.add_subplot(grid[:, 1]))
        axes[-1].set_box_aspect(1.0)
        _draw_states(axes[-1], latent, members)
    named = {}
    for panel in axes:
        handles, labels = panel.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    legend = figure.legend(
        named.values(), named, loc="outside lower center", ncols=7 if shown else 3
    )
    for name, handle in zip(named, legend.legend_handles, strict=True):
        if handle is not None and name in {"draws", *members}:
            handle.set_alpha(1.0)
    figure.suptitle(title)
    return figure


def interpolations(
    times: ArrayLike,
    target: ArrayLike,
    found: ArrayLike,
    *,
    seen: ArrayLike,
    titles: Sequence[str],
    label: str = "time",
    columns: int = 3,
) -> Figure:
    """Series that were filled in, each in a panel.

    Args:
        times: (time,), common to all.
        target: (panel, time), NaN where there is none.
        found: (panel, time).
        seen: (panel, time), True where the target was given.
        titles: of the panels.
        label: of the axis of time.
        columns: of panels.

    Raises:
        ValueError: if shapes do not fit together.
    """
    along, truth, means, given = (np.asarray(x) for x in (times, target, found, seen))
    expected = (len(titles), len(along))
    for name, each in (("target", truth), ("found", means), ("seen", given)):
        if each.shape != expected:
            raise ValueError(f"interpolations expected {name} {expected}, got {each.shape}")
    rows = -(-len(titles) // columns)
    size = (4.0 * columns, 2.4 * rows)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for number, panel in enumerate(axes[: len(titles)]):
        hidden = np.where(given[number], np.nan, truth[number])
        panel.plot(along, means[number], color=BLUE, linewidth=1.5, label="mean")
        if np.isfinite(hidden).any():
            panel.plot(along, hidden, ".", color=GREY, markersize=3, label="not seen")
        shown = np.where(given[number], truth[number], np.nan)
        panel.plot(along, shown, "o", color="black", markersize=3.5, label="seen")
        panel.set(title=titles[number])
    for panel in axes[len(titles) :]:
        panel.set_visible(False)
    named = dict(zip(*axes[0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(named.values(), named, loc="outside upper right", ncols=3, fontsize="small")
    figure.supxlabel(label)
    return figure


def _check_paths(
    truth: np.ndarray, paths: Mapping[str, np.ndarray], thin: Mapping[str, np.ndarray]
) -> None:
    if not paths:
        raise ValueError("forecasts expected those of one model or more, got none")
    if truth.ndim != 3 or truth.shape[2] != 2:
        raise ValueError(f"forecasts expected truth (series, time, 2), got {truth.shape}")
    for name, each in paths.items():
        if each.shape != truth.shape:
            raise ValueError(
                f"forecasts expected those of {name} in the shape of the truth, "
                f"{truth.shape}, got {each.shape}"
            )
    for name, each in thin.items():
        expected = (len(truth), "draw", *truth.shape[1:])
        if name not in paths or each.ndim != 4 or each[:, 0].shape != truth.shape:
            raise ValueError(
                f"forecasts expected draws of {', '.join(paths)}, each {expected}, "
                f"got {name} {each.shape}"
            )


def _check_observed(truth: np.ndarray, dots: np.ndarray, window: tuple[int, int]) -> None:
    if dots.ndim != 3 or (len(dots), dots.shape[2]) != (len(truth), 2):
        raise ValueError(f"forecasts expected observed ({len(truth)}, point, 2), got {dots.shape}")
    if not 0 <= window[0] < window[1] <= truth.shape[1]:
        raise ValueError(
            f"forecasts expected a window within the {truth.shape[1]} times, got {window}"
        )


def _check_states(states: np.ndarray | None, groups: Mapping[str, np.ndarray]) -> None:
    if states is None and groups:
        raise ValueError("forecasts expected states for the groups, got None")
    if states is not None and not (
        states.ndim == 3 and states.shape[2] > 1 and np.isfinite(states).all(2).any()
    ):
        raise ValueError(
            "forecasts expected states (path, time, latent) of two coordinates or more, got shape "
            f"{states.shape}, or nothing finite"
        )
    most = len(_OF_GROUPS)
    if len(groups) > most:
        raise ValueError(f"forecasts has colours for {most} groups, got {len(groups)}")
    for name, own in groups.items():
        if states is not None and own.shape != states.shape[:1]:
            raise ValueError(f"forecasts expected group {name} ({len(states)},), got {own.shape}")


def _draw_forecasts(
    panel: Any, found: np.ndarray, truth: np.ndarray, dots: np.ndarray, window: tuple[int, int]
) -> None:
    first, end = window
    outside = np.ones(truth.shape[1], bool)
    outside[first:end] = False
    inside = np.where(outside[:, None], np.nan, found)
    beyond = np.where(outside[:, None], found, np.nan)
    layers = (
        (truth, "true", {"color": GREY, "linewidth": 4, "alpha": 0.4}),
        (dots, "observed", {"color": "black", "marker": ".", "markersize": 3, "linestyle": ""}),
        (inside, "reconstructed", {"color": BLUE, "linewidth": 1.5}),
        (beyond, "extrapolated", {"color": ORANGE, "linewidth": 1.5}),
    )
    for values, name, style in layers:
        if np.isfinite(values).any():
            first_line, *_ = panel.plot(values[..., 0].T, values[..., 1].T, **style)
            first_line.set_label(name)
    low, high = np.nanmin(truth, axis=(0, 1)), np.nanmax(truth, axis=(0, 1))
    margin = 0.1 * (high - low)
    panel.set_aspect("equal")
    panel.set(xlim=(low[0] - margin[0], high[0] + margin[0]))
    panel.set(ylim=(low[1] - margin[1], high[1] + margin[1]))


def _draw_states(panel: Any, states: np.ndarray, groups: Mapping[str, np.ndarray]) -> None:
    flat = states.reshape(-1, states.shape[-1])
    flat = flat[np.isfinite(flat).all(axis=1)]
    centre = flat.mean(axis=0)
    _, lengths, directions = np.linalg.svd(flat - centre, full_matrices=False)
    share = np.sum(lengths[:2] ** 2) / np.sum(lengths**2)
    plane = (states - centre) @ directions[:2].T
    members = groups or {"": np.ones(len(states), bool)}
    for color, (name, own) in zip(_OF_GROUPS, members.items(), strict=False):
        paths = plane[own]
        style = {"color": color, "linewidth": 0.6, "alpha": 0.35}
        lines = panel.plot(paths[..., 0].T, paths[..., 1].T, **style)
        for line in lines[:1]:
            line.set_label(name)
    panel.set(title="latent paths", xlabel="first component", ylabel="second component")
    panel.text(
        0.02, 0.02, f"{share:.0%} of the variance lies in this plane", transform=panel.transAxes
    )
