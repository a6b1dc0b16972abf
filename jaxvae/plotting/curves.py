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
    epochs = [line["epoch"] for line in history]
    labels = {"bound": "training", "held_out_bound": held_out}
    drawn = [name for name in labels if name in history[0]]
    for name in drawn:
        values = np.stack([np.atleast_1d(np.asarray(line[name])) for line in history])
        mean, spread = values.mean(axis=1), values.std(axis=1)
        (line,) = axes.plot(epochs, mean, ".-", markersize=3, linewidth=1, label=labels[name])
        if values.shape[1] > 1:
            axes.fill_between(
                epochs, mean - spread, mean + spread, alpha=0.3, color=line.get_color()
            )
    axes.set(xlabel="epoch", ylabel="ELBO (nats per example)", title="Evidence lower bound")
    # The first epochs fall off the scale on which the later ones can be told apart.
    late = history[len(history) // 20 :]
    settled = np.concatenate([np.ravel(line[name]) for line in late for name in drawn])
    settled = settled[np.isfinite(settled)]
    axes.set_ylim(bottom=settled.min() - 0.1 * np.ptp(settled) - 1.0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
