"""How well spirals are forecast: errors, the table, and figure 20."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jaxvae
from experiments.spiral_forecasters import BEYOND, WINDOW, Forecaster
from jaxvae import data, plotting
from jaxvae.model import EXAMPLES

MEASURES = ("rmse_clean", "rmse_noisy", "rmse_backward", "rmse_inside", "test_bound_nats")
TITLES = {"latent_ode": "latent ODE", "rnn": "RNN", "rnn_with_gaps": "RNN that is told the times"}
DRAWN = 400
"""Test series whose latent paths are drawn."""
SHOWN = 4
"""Test series whose forecasts are drawn."""


def forecasts(forecaster: Forecaster, params: Any, test: data.Spirals) -> np.ndarray:
    """Means at all points about each window, shape (seed, series, point, 2)."""
    each = jax.vmap(forecaster.forecast, (None, 0), axis_name=EXAMPLES)
    return np.asarray(jax.jit(jax.vmap(each, (0, 1)))(params, test.observed))


def truth_about(test: data.Spirals) -> tuple[np.ndarray, np.ndarray]:
    """Clean points (seed, series, point, 2) from before to after each window, and which exist."""

    def about(own: data.Spirals):
        parts = [data.clean_backward(own, BEYOND), own.clean, data.clean_forward(own, BEYOND)]
        return tuple(jnp.concatenate([getattr(p, name) for p in parts], 1) for name in LEAVES)

    values, mask = jax.jit(jax.vmap(about, in_axes=1))(test)
    return np.asarray(values), np.asarray(mask[..., 0])


LEAVES = ("values", "mask")


def errors(test: data.Spirals, found: np.ndarray, noise: float, seed: int) -> dict[str, np.ndarray]:
    """Root mean squared errors over points and coordinates, one for each seed.

    The extrapolation of a series is forward where all points after its window exist, and backward
    elsewhere; ``rmse_backward`` is that of all series that have the points before.
    """
    values, exists = truth_about(test)
    noisy = values + noise * np.random.default_rng(seed).normal(size=values.shape)
    before, after = slice(0, BEYOND), slice(BEYOND + WINDOW, None)
    forward, backward = (exists[:, :, part].all(-1) for part in (after, before))

    def rmse(target: np.ndarray) -> np.ndarray:
        squares = np.mean((found - target) ** 2, axis=-1)
        ahead, behind = squares[:, :, after].mean(-1), squares[:, :, before].mean(-1)
        chosen = np.where(forward, ahead, behind)
        return np.sqrt(np.mean(chosen, axis=1, where=forward | backward))

    squares = np.mean((found - values) ** 2, axis=-1)
    found_errors = {
        "rmse_clean": rmse(values),
        "rmse_noisy": rmse(noisy),
        "rmse_backward": np.sqrt(squares[:, :, before].mean(-1).mean(1, where=backward)),
    }
    inside = np.sqrt(squares[:, :, BEYOND : BEYOND + WINDOW].mean((1, 2)))
    return found_errors | ({} if np.isnan(inside).any() else {"rmse_inside": inside})


def bounds(forecaster: Forecaster, params: Any, test: data.Spirals, seed: int) -> dict[str, Any]:
    """The bound on the log-likelihood of a test series, in nats, of each seed."""

    def one(params, series, key, number):
        example = jaxvae.Example(inputs=series, target=None)
        return forecaster.loss(params, example, key=key, settings=number).bound

    count, seeds = test.starts.shape
    each = jax.vmap(one, (None, 0, 0, None), axis_name=EXAMPLES)
    keys = jax.random.split(jax.random.key(seed), count)
    of_all = jax.jit(jax.vmap(each, (0, None, None, 0)))
    return {"test_bound_nats": of_all(params, test.observed, keys, jnp.arange(seeds)).mean(1)}


def save_drawn(
    folder: Path, forecaster: Forecaster, params: Any, test: data.Spirals, found: np.ndarray
) -> None:
    """Keep what figure 20 shows of the first seed."""
    first, test = jax.tree.map(lambda x: x[0], params), jax.tree.map(lambda x: x[:DRAWN], test)
    own = jax.tree.map(lambda x: x[:, 0], test)
    truth, exists = truth_about(test)
    kept = {
        "forecasts": found[0, :DRAWN],
        "truth": np.where(exists[0][..., None], truth[0], np.nan),
        "clockwise": own.clockwise,
        "observed": np.where(own.observed.mask, own.observed.values, np.nan),
    }
    if forecaster.states is not None:
        kept["states"] = jax.jit(jax.vmap(forecaster.states, (None, 0)))(first, own.observed)
    np.savez(folder / "drawn.npz", **kept)


def table(done: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    """Each model's figures under its name and number of points, and what is common to all."""
    first = next(iter(done.values()))
    values: dict[str, Any] = {key: first[key] for key in ("steps", "device", "jax_version")}
    for key in ("train_seconds", "compile_seconds"):
        values[key] = sum(own[key] for own in done.values())
    values["steps_per_second"] = sum(own["steps"] for own in done.values()) / max(
        values["train_seconds"], 1e-9
    )
    values["parameters_sha256"] = first["parameters_sha256"]
    for key in MEASURES:
        for (name, points), own in done.items():
            for end in ("", "_sd"):
                if key + end in own:
                    values[f"{key}_{name}_{points}{end}"] = own[key + end]
    return values


def pictures(folder: Path, done: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Figure]:
    """Figure 20 for each number of points, of the first seed."""
    figures = {}
    for points in sorted({points for _, points in done}):
        kept = {
            name: np.load(folder / f"{name}_{number}" / "drawn.npz")
            for name, number in done
            if number == points
        }
        figures[f"figure_20_{points}"] = _figure(kept, points)
    return figures


def _figure(kept: dict[str, Any], points: int) -> Figure:
    first = next(iter(kept.values()))
    turns = [np.flatnonzero(first["clockwise"] == turn)[: SHOWN // 2] for turn in (False, True)]
    shown = np.concatenate(turns)
    states = next((own["states"] for own in kept.values() if "states" in own), None)
    return plotting.forecasts(
        {TITLES[name]: own["forecasts"][shown] for name, own in kept.items()},
        first["truth"][shown],
        first["observed"][shown],
        window=(BEYOND, BEYOND + WINDOW),
        states=states,
        groups={"counter-clockwise": ~first["clockwise"], "clockwise": first["clockwise"]},
        title=f"{points} of {WINDOW} points observed",
    )
