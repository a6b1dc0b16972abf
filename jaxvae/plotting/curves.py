"""Training curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def elbo_curve(history: Sequence[Mapping[str, Any]], *, held_out: str = "held-out") -> Figure:
    """The bound against the epoch, with the spread over seeds where there are several.

    Args:
        history: lines with ``epoch``, ``bound`` and possibly ``held_out_bound``.
        held_out: what the held-out rows are called in the legend.

    Raises:
        ValueError: if the history is empty.
    """
    if not history:
        raise ValueError("elbo_curve expected at least one logged line, got none")
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    labels = {"bound": "training", "held_out_bound": held_out}
    drawn = [name for name in labels if any(name in line for line in history)]
    for name in drawn:
        lines = [line for line in history if name in line]
        epochs = [line["epoch"] for line in lines]
        # Members that have stopped have no training bound any more: null in a log.
        values = np.stack([np.atleast_1d(np.asarray(line[name], float)) for line in lines])
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
        [np.ravel(np.asarray(line[name], float)) for line in late for name in drawn if name in line]
    )
    settled = settled[np.isfinite(settled)]
    if len(settled):
        axes.set_ylim(bottom=settled.min() - 0.1 * np.ptp(settled) - 1.0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
