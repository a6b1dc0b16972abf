"""Scores side by side."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from jaxvae.plotting.palette import BLUE


def score_comparison(scores: Mapping[str, tuple[float, float | None]], *, label: str) -> Figure:
    """One row for each candidate: a dot at its mean, a line of one standard deviation each way.

    Args:
        scores: names to (mean, standard deviation); None draws no line.
        label: of the axis, with its unit.

    Returns:
        The figure; the first candidate is on top.
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
