"""Pictures of gradient estimators, which have the same colours in all pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.gradient_estimators.comparison import STAGES, Noise
from experiments.gradient_estimators.estimators import Family
from experiments.gradient_estimators.gaussian import (
    DRAWS_BY_DIMENSION,
    Gaussian,
    Measured,
    exact_gradient,
)

BLUE, AMBER, RED, GREY, PURPLE, BROWN, ORANGE, TAN, SLATE, CYAN = color_sequences["petroff10"]
LOOKS = {
    "pathwise": (BLUE, "-"),
    "pathwise_sampled_kl": (BLUE, "--"),
    "sticking_the_landing": (CYAN, "-"),
    "score": (AMBER, "-"),
    "score_leave_one_out": (ORANGE, "--"),
    "score_learnt_baseline": (RED, "-."),
    "iwae": (PURPLE, "-"),
    "iwae_doubly_reparameterised": (BROWN, "-"),
    "iwae_sticking_the_landing": (TAN, "-"),
    "renyi": (SLATE, ":"),
    "enumerated": ("black", "-"),
    "vimco": (PURPLE, "-"),
    "straight_through": (BROWN, "-"),
    "straight_through_gumbel": (TAN, "-"),
}
"""Colours and line styles; those of Gumbel-softmax depend on its temperatures."""
RELAXED = ((BLUE, "-"), (CYAN, "-"), (GREY, "-"), (SLATE, "-"))
NAMES = {
    "pathwise": "pathwise",
    "sticking_the_landing": "sticking the landing",
    "score": "score function",
    "score_leave_one_out": "score, leave one out",
}


def looks(estimators: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """Colours and line styles of the estimators of one model."""
    relaxed = [name for name in estimators if name not in LOOKS]
    found = {name: RELAXED[number % len(RELAXED)] for number, name in enumerate(relaxed)}
    return {name: LOOKS.get(name) or found[name] for name in estimators}


def lecture(
    options: Gaussian,
    by_draws: dict[str, dict[int, Measured]],
    by_dimension: dict[str, dict[int, Measured]],
) -> Figure:
    """Single estimates around the exact gradient, and variances with their closed forms."""
    figure = Figure(figsize=(13.2, 4.4), dpi=140, layout="constrained")
    cloud, draws, dimensions = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
    _draw_cloud(cloud, options, by_draws)
    _draw_variances(draws, by_draws)
    draws.set(xlabel="samples L in an estimate", title=f"{options.dimension} latent dimensions")
    _draw_variances(dimensions, by_dimension)
    dimensions.set(xlabel="latent dimensions d", title=f"L = {DRAWS_BY_DIMENSION} samples")
    draws.set_ylabel(r"variance of $\partial\,\mathrm{ELBO}/\partial\mu_1$  (nats² / unit²)")
    handles, labels = draws.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False
    )
    return figure


def _draw_cloud(axes: Axes, options: Gaussian, found: dict[str, dict[int, Measured]]) -> None:
    at = options.draws[0]
    exact = exact_gradient(options)
    jitter = np.random.default_rng(0).uniform(-0.32, 0.32, 1000)
    for height, name in enumerate(("pathwise", "score")):
        measured = found[name][at]
        shown = measured.estimates[: len(jitter)]
        axes.plot(
            shown,
            height + jitter[: len(shown)],
            ".",
            color=LOOKS[name][0],
            markersize=2.5,
            alpha=0.6,
        )
        spread = f"{measured.variance:,.{0 if measured.variance >= 100 else 2}f}"
        axes.text(
            0.02, height + 0.42, f"{NAMES[name]}: variance {spread}",
            transform=axes.get_yaxis_transform(), va="center", fontsize=10,
        )  # fmt: skip
    axes.axvline(exact, color="black", linewidth=1, linestyle="--")
    wide = np.quantile(np.abs(found["score"][at].estimates - exact), 0.995)
    axes.set_xlim(exact - wide, exact + wide)
    axes.set_ylim(1.6, -0.55)
    axes.invert_yaxis()
    axes.set_yticks([])
    ratio = found["score"][at].variance / found["pathwise"][at].variance
    axes.set_title(f"{at} sample an estimate: variance ratio {ratio:,.0f}")
    axes.set_xlabel(
        r"estimates of $\partial\,\mathrm{ELBO}/\partial\mu_1$ (nats / unit);"
        f" dashed: exact, {exact:g}"
    )


def _draw_variances(axes: Axes, found: dict[str, dict[int, Measured]]) -> None:
    marks = dict(zip(NAMES, "os^D", strict=True))
    for name, each in found.items():
        at, colour = list(each), LOOKS[name][0]
        # If two estimators have the same variance, one mark is drawn inside the other.
        size = 9 if name == "pathwise" else 5
        axes.plot(at, [m.variance for m in each.values()], marks[name], color=colour,
                  markersize=size, label=NAMES[name])  # fmt: skip
        axes.plot(at, [m.theory for m in each.values()], color=colour, linewidth=1)
    axes.plot([], [], color="black", linewidth=1, label="closed form")
    axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.3)


def training_curves(
    families: Mapping[str, Family],
    history: Sequence[Mapping[str, Any]],
    bounds: Mapping[str, np.ndarray],
) -> Figure:
    """The training ELBO at equal steps: mean and standard deviation over seeds."""
    figure = Figure(figsize=(10.5, 4.5 * len(families)), dpi=140, layout="constrained")
    panels = figure.subplots(len(families), 1, squeeze=False)[:, 0]
    for axes, (kind, family) in zip(panels, families.items(), strict=True):
        lines = looks(list(family.estimators))
        last = {name: np.mean(bounds[f"test_elbo_nats_{kind}_{name}"]) for name in lines}
        steps = np.array([record["step"] for record in history])
        late = []
        for name in sorted(lines, key=last.__getitem__, reverse=True):
            values = np.array(
                [np.atleast_1d(record[f"{kind}_{name}"]) for record in history], float
            )
            mean, spread = values.mean(axis=1), values.std(axis=1)
            colour, style = lines[name]
            label = f"{last[name]:.2f}  {family.estimators[name].label}"
            axes.plot(steps, mean, style, color=colour, linewidth=1.5, label=label)
            axes.fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
            late.append(mean[len(mean) // 6 :])
        # The axis shows the later epochs, where the estimators differ, and cuts off the first ones.
        low, high = np.min(late), np.max(late)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))
        axes.set(xlabel="step", ylabel="training ELBO (nats per image)", title=family.title)
        axes.grid(alpha=0.3)
        axes.legend(
            title="test ELBO (nats)", loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9,
            alignment="left", frameon=False,
        )  # fmt: skip
    return figure


def noise_bars(families: Mapping[str, Family], noise: Mapping[str, dict[str, Noise]]) -> Figure:
    r"""Signal-to-noise ratios of both groups of parameters and biases, averaged over seeds.

    A gradient of zero has a measured ratio of about $0.8/\sqrt n$ with n estimates.
    """
    most = max(len(family.estimators) for family in families.values())
    size = (13.0, 0.72 * most + 2.4)
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    panels = figure.subplots(2, len(families), sharex=True, squeeze=False)
    for column, (kind, family) in zip(panels.T, families.items(), strict=True):
        for axes, group in zip(column, ("inference", "generative"), strict=True):
            _draw_ratios(axes, family, noise[kind], group)
            axes.set_title(f"{family.title}: {group} parameters", fontsize=11)
        column[-1].set_xlabel("signal-to-noise ratio of a parameter's gradient, mean")
    looks_of_stages = zip((0.45, 1.0), ("initial parameters", "after training"), strict=True)
    patches = [Patch(color="black", alpha=alpha, label=label) for alpha, label in looks_of_stages]
    figure.legend(handles=patches, loc="outside upper center", ncols=2)
    return figure


def _draw_ratios(axes: Axes, family: Family, noise: dict[str, Noise], group: str) -> None:
    lines = looks(list(family.estimators))
    axes.set_xscale("log")
    for height, (name, found) in enumerate(noise.items()):
        report = found.reports[group]
        for number in range(len(STAGES)):
            at, ratio = height + 0.4 * number - 0.2, float(np.mean(report.signal_to_noise[number]))
            if not np.all(report.noise[number] > 0):
                axes.text(0.02, at, "no noise", transform=axes.get_yaxis_transform(),
                          va="center", fontsize=8)  # fmt: skip
                continue
            words = _bias(found, number) if group == "inference" else ""
            axes.barh(at, ratio, 0.38, color=lines[name][0], alpha=0.45 + 0.55 * number)
            axes.text(1.04 * ratio, at, f"{ratio:.2g}{words}", va="center", fontsize=7)
    axes.set_yticks(
        range(len(noise)), [family.estimators[name].label for name in noise], fontsize=9
    )
    axes.set_ylim(len(noise) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.margins(x=0.25)


def _bias(found: Noise, number: int) -> str:
    """The bias in words, if it is larger than noise explains."""
    if found.bias is None:
        return ""
    bias, resolved = (each[number].mean() for each in found.bias)
    return f"   bias {100 * bias:.0f}%" if bias > 2 * resolved else ""
