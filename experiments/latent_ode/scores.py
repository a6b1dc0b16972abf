"""How well spirals are forecast: errors, bounds, the best possible forecast, and figure 20."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from matplotlib.figure import Figure

import jaxvae
from experiments.latent_ode.forecaster import BEYOND, SPACING, WINDOW, Forecast, Forecaster
from jaxvae import data, plotting
from jaxvae.distributions import Masked, Normal

MEASURES = (
    "rmse_clean",
    "rmse_noisy",
    "rmse_backward",
    "rmse_inside",
    "rmse_clean_exact",
    "test_bound_nats",
)
TITLES = {"latent_ode": "latent ODE", "rnn": "RNN", "rnn_with_gaps": "RNN with time gaps"}
STARTS = range(100, 400)
"""Starts of the windows that series are cut from, all equally likely in either direction."""
DRAWN = 400
"""Number of test series whose latent paths the figure shows."""
SHOWN = 4
"""Number of test series whose forecasts the figure shows."""


def forecasts(forecaster: Forecaster, params: Any, test: data.Spirals, seed: int) -> Forecast:
    """Forecasts of all seeds and series, which are the first two axes."""
    observed = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), test.observed)
    keys = jax.random.split(jax.random.key(seed), test.starts.shape[1])
    of_all = jax.jit(forecaster.forecast)
    found = [
        of_all(*jax.tree.map(lambda x, n=number: x[n], (params, observed)), key)
        for number, key in enumerate(keys)
    ]
    return jax.tree.map(lambda *x: np.stack(x), *found)


def truth_about(test: data.Spirals) -> tuple[np.ndarray, np.ndarray]:
    """Noiseless points before, in and after each window, and which of them exist.

    Returns:
        Points (seed, series, point, 2) and a mask (seed, series, point), False beyond the ends of
        a curve.
    """

    def about(own: data.Spirals):
        parts = [data.clean_backward(own, BEYOND), own.clean, data.clean_forward(own, BEYOND)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 1), *parts)

    whole = jax.jit(jax.vmap(about, in_axes=1))(test)
    return np.asarray(whole.values), np.asarray(whole.mask[..., 0])


def errors(
    truth: tuple[np.ndarray, np.ndarray], found: np.ndarray, noise: float, seed: int
) -> dict[str, np.ndarray]:
    """Root mean squared errors over points and coordinates, one for each seed.

    The extrapolation of a series is its forecast of the points after the window if all of them
    exist, and of those before it otherwise. ``rmse_backward`` is the error before the window, over
    all series for which those points exist.
    """
    values, exists = truth
    noisy = values + noise * np.random.default_rng(seed).normal(size=values.shape)
    before, after = slice(0, BEYOND), slice(BEYOND + WINDOW, None)
    forward, backward = (exists[:, :, part].all(-1) for part in (after, before))

    def squares(target: np.ndarray, part: slice) -> np.ndarray:
        return np.mean((found - target)[:, :, part] ** 2, axis=(2, 3))

    def extrapolation(target: np.ndarray) -> np.ndarray:
        chosen = np.where(forward, squares(target, after), squares(target, before))
        return np.sqrt(np.mean(chosen, axis=1, where=forward | backward))

    inside = np.sqrt(squares(values, slice(BEYOND, BEYOND + WINDOW)).mean(1))
    return {
        "rmse_clean": extrapolation(values),
        "rmse_noisy": extrapolation(noisy),
        "rmse_backward": np.sqrt(squares(values, before).mean(1, where=backward)),
        # Networks that forecast alone have no means inside.
        **({} if np.isnan(inside).any() else {"rmse_inside": inside}),
    }


def exact(
    test: data.Spirals, truth: tuple[np.ndarray, np.ndarray], noise: float
) -> dict[str, np.ndarray]:
    """The error of the best possible extrapolation, which knows the curves but not the window."""
    by_seed = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), test.observed)

    def of_seed(series: jaxvae.TimeSeries):
        return lax.map(lambda own: exact_forecast(own, noise), series)

    found = np.asarray(jax.jit(partial(lax.map, of_seed))(by_seed))
    return {"rmse_clean_exact": errors(truth, found, noise, 0)["rmse_clean"]}


def exact_forecast(series: jaxvae.TimeSeries, noise: float) -> Array:
    r"""The posterior mean of the points before, in and after a window, given the true curves.

    $$E[x^*_j] = \frac{\sum_{c,s} w_{cs}\, \mu_c(s + j)}{\sum_{c,s} w_{cs}}, \quad
      w_{cs} = \prod_i N(x_i;\, \mu_c(s + i), \sigma^2)$$

    The sums run over both curves $\mu_c$ and all starts s of a window, each with the weight that
    Bayes' rule gives it, as long as point j exists on the curve. No forecast has a smaller expected
    squared error.

    Args:
        series: the observed points of one window.
        noise: $\sigma$.

    Returns:
        The means (point, 2); NaN where no start with positive weight has the point.
    """
    curves, starts = data.spiral_curves(), jnp.array(STARTS)
    places = jnp.round(series.times / SPACING).astype(int)
    values, mask = jnp.asarray(series.values), jnp.asarray(series.mask)
    observed = Masked(Normal(values, jnp.full_like(values, jnp.log(noise))), mask)
    means = curves[:, starts[:, None] + places[None]]
    weights = jax.nn.softmax(jax.vmap(jax.vmap(observed.log_prob))(means), axis=(0, 1))
    about = starts[:, None] + jnp.arange(-BEYOND, WINDOW + BEYOND)[None]
    exists = (about >= 0) & (about < curves.shape[1])
    shares = jnp.where(exists, weights[:, :, None], 0.0)
    points = curves[:, jnp.clip(about, 0, curves.shape[1] - 1)]
    return jnp.einsum("csp,cspd->pd", shares, points) / jnp.sum(shares, axis=(0, 1))[:, None]


def bounds(forecaster: Forecaster, params: Any, test: data.Spirals, seed: int) -> dict[str, Any]:
    """The mean bound on the log-likelihood of a test series, in nats, for each seed."""

    def one(params, series, key, number):
        example = jaxvae.Example(inputs=series, target=None)
        return forecaster.loss(params, example, key=key, settings=number).bound

    count, seeds = test.starts.shape

    def each(params, series, keys, number):
        return jaxvae.map_examples(lambda s, k: one(params, s, k, number), series, keys)

    keys = jax.random.split(jax.random.key(seed), count)
    of_all = jax.jit(jax.vmap(each, (0, None, None, 0)))
    return {"test_bound_nats": of_all(params, test.observed, keys, jnp.arange(seeds)).mean(1)}


def save_drawn(
    folder: Path,
    forecaster: Forecaster,
    params: Any,
    test: data.Spirals,
    truth: tuple[np.ndarray, np.ndarray],
    found: Forecast,
) -> None:
    """Save the arrays of the first seed from which figure 20 is drawn."""
    own = jax.tree.map(lambda x: x[:DRAWN, 0], test)
    values, exists = (each[0, :DRAWN] for each in truth)
    kept = {
        "forecasts": found.mean[0, :DRAWN],
        "truth": np.where(exists[..., None], values, np.nan),
        "clockwise": own.clockwise,
        "observed": np.where(own.observed.mask, own.observed.values, np.nan),
    }
    if found.paths is not None:
        kept["paths"] = found.paths[0, :DRAWN]
    if forecaster.states is not None:
        first = jax.tree.map(lambda x: x[0], params)
        states = jax.jit(jax.vmap(forecaster.states, (None, 0)))(first, own.observed)
        kept["states"] = np.where(exists[..., None], states, np.nan)
    np.savez(folder / "drawn.npz", **kept)


def pictures(folder: Path, done: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    """Figure 20 for each number of points, of the first seed."""
    figures = {}
    for points in sorted({own["points"] for own in done.values()}):
        kept = {
            own["model"]: np.load(folder / label / "drawn.npz")
            for label, own in done.items()
            if own["points"] == points
        }
        figures[f"figure_20_{points}"] = _figure(kept, points)
    return figures


def _figure(kept: dict[str, Any], points: int) -> Figure:
    first = next(iter(kept.values()))
    turns = [np.flatnonzero(first["clockwise"] == turn)[: SHOWN // 2] for turn in (False, True)]
    shown = np.concatenate(turns)
    states = next((own["states"] for own in kept.values() if "states" in own), None)
    truth = first["truth"][shown]
    # Beyond the ends of a curve there is nothing to forecast.
    blank = np.where(np.isnan(truth), np.nan, 0.0)
    groups = {"counter-clockwise": ~first["clockwise"], "clockwise": first["clockwise"]}
    paths = {name: own["paths"] for name, own in kept.items() if "paths" in own}
    return plotting.forecasts(
        {TITLES[name]: own["forecasts"][shown] + blank for name, own in kept.items()},
        truth,
        first["observed"][shown],
        window=(BEYOND, BEYOND + WINDOW),
        draws={TITLES[name]: own[shown] + blank[:, None] for name, own in paths.items()},
        states=states,
        groups=None if states is None else groups,
        title=f"{points} of {WINDOW} points observed",
    )
