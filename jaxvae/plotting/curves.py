"""Training curves, scores side by side, and the colours that all pictures share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito (2008), "Color universal design", without black and without the pale yellow.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, SKY, AMBER = "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#8C8C8C"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)


def elbo_curve(history: Sequence[Mapping[str, Any]], *, held_out: str = "held-out") -> Figure:
    """The bound against the epoch, with the spread over seeds where there are several.

    Args:
        history: log records with ``epoch``, ``bound`` and possibly ``held_out_bound``.
        held_out: what the held-out rows are called in the legend.

    Raises:
        ValueError: if the history is empty.
    """
    if not history:
        raise ValueError("elbo_curve expected at least one log record, got none")
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    labels = {"bound": "training", "held_out_bound": held_out}
    drawn = [name for name in labels if any(name in record for record in history)]
    for name in drawn:
        records = [record for record in history if name in record]
        epochs = [record["epoch"] for record in records]
        # Members that have stopped have no training bound any more: null in a log.
        values = np.stack([np.atleast_1d(np.asarray(record[name], float)) for record in records])
        values = values[:, np.isfinite(values).any(axis=0)]
        mean = np.ma.masked_invalid(values).mean(axis=1)
        spread = np.ma.masked_invalid(values).std(axis=1)
        (line,) = axes.plot(epochs, mean, ".-", markersize=3, linewidth=1, label=labels[name])
        if values.shape[1] > 1:
            axes.fill_between(
                epochs, mean - spread, mean + spread, alpha=0.3, color=line.get_color()
            )
    axes.set(xlabel="epoch", ylabel="ELBO (nats per example)", title="Evidence lower bound")
    # The first epochs fall off the scale on which the later ones can be told apart.
    late = history[len(history) // 20 :]
    settled = np.concatenate(
        [
            np.ravel(np.asarray(record[name], float))
            for record in late
            for name in drawn
            if name in record
        ]
    )
    settled = settled[np.isfinite(settled)]
    if len(settled):
        axes.set_ylim(bottom=settled.min() - 0.1 * np.ptp(settled) - 1.0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def score_comparison(scores: Mapping[str, tuple[float, float | None]], *, label: str) -> Figure:
    """A row for each method compared: a dot at its mean, a line of a standard deviation each way.

    Args:
        scores: names to (mean, standard deviation); None draws no line.
        label: of the axis, with its unit.

    Returns:
        The figure, with the first method on top.
    """
    figure = Figure(figsize=(6.5, 0.6 * len(scores) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, (mean, spread) in enumerate(scores.values()):
        axes.errorbar(mean, row, xerr=spread, fmt="o", color=BLUE, capsize=4)
        axes.annotate(f"{mean:.2f}", (mean, row), (0, 9), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(scores)), [name.replace("_", " ") for name in scores])
    axes.set_ylim(len(scores) - 0.4, -0.7)
    axes.margins(x=0.15)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    return figure
