"""What forecasts bi-directional spirals: the latent ODE and the recurrent networks of its paper.

A latent ODE that always starts at the first point of a series has no reason to carry one series'
latent path on along the paths of those that begin where it ends: the same place on a spiral may
have another latent state at each distance from the start. Two changes mend this. The start is drawn
anywhere in the series, with a prior that is the same at each; and the state that the flow reaches
at a second start is made likely under the posterior there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae
from jaxvae import data, models, nn, ode
from jaxvae.distributions import kl_divergence
from jaxvae.model import EXAMPLES

WINDOW = 100
SPACING = data.SpiralCurves().final_angle / (data.SpiralCurves().grid_points - 1)
BEYOND = 100
"""Points that are forecast on either side of a window."""


@dataclass(frozen=True)
class Setting:
    """Sizes of the networks, and how they are trained."""

    start: Literal["first", "anywhere"]
    cell: Literal["rnn", "gru"]
    units: int
    dynamics: tuple[int, ...]
    decoder: tuple[int, ...]
    latent_dim: int
    consistency: float
    scale: float
    steps: int
    batch_size: int
    learning_rate: float
    decay: bool


PRESETS = {
    "paper": Setting("first", "rnn", 25, (20,), (20,), 4, 0.0, 1.0, 2000, 1000, 1e-2, False),
    "best": Setting("anywhere", "gru", 25, (100,), (50,), 4, 0.3, 4.0, 8000, 100, 5e-3, True),
}


class Forecaster(NamedTuple):
    """A model of the windows.

    Attributes:
        init: key to parameters.
        loss: of one example, whose inputs are the window's ``TimeSeries`` for each seed; the
            setting is the number of the seed.
        forecast: parameters and a series to the means at the ``BEYOND`` points before its window,
            the window's own, and the ``BEYOND`` points after it. What a model has no mean for is
            NaN.
        states: latent states at the same points, or None.
    """

    init: Callable[..., Any]
    loss: Callable[..., jaxvae.Estimate]
    forecast: Callable[..., Array]
    states: Callable[..., Array] | None


def latent_ode(setting: Setting) -> Forecaster:
    """The latent ODE, with its start at the first point of the window or anywhere in it."""
    anywhere = setting.start == "anywhere"
    before = WINDOW - 1 if anywhere else 0
    middle = WINDOW // 2 if anywhere else 0
    cell = {"rnn": nn.rnn_cell, "gru": nn.gru_cell}[setting.cell]
    encode = nn.two_sided_encoder if anywhere else nn.recurrent_encoder
    dim, scale = setting.latent_dim, setting.scale
    dynamics = nn.mlp((dim,), (dim,), hidden=setting.dynamics, activation=nn.tanh)

    def model_at(first: int, last: int) -> jaxvae.LatentVariableModel:
        return models.latent_ode(
            encoder=encode(nn.recurrent(2, setting.units, cell=cell), 2 * dim),
            dynamics=dynamics,
            decoder=nn.mlp((dim,), (2,), hidden=setting.decoder),
            latent_dim=dim,
            channels=2,
            common_times=tuple(SPACING * n for n in range(first, last)),
            integrator=ode.adaptive(1e-3, 1e-4, max_steps=256),
        )

    training_model = model_at(-before, WINDOW)
    whole_model = model_at(-BEYOND - middle, WINDOW + BEYOND - middle)
    everything = models.Grid(None, jnp.ones((2 * BEYOND + WINDOW, 2), bool))

    def placed(series: data.TimeSeries, start: Array) -> tuple[Array, models.Grid]:
        """The target on the model's common times, which count from the start."""
        indices = jnp.round(series.times / SPACING).astype(int) + before - start
        blank = jnp.zeros((before + WINDOW, 2))
        mask = blank.astype(bool).at[indices].set(series.mask)
        return blank.at[indices].set(series.values), models.Grid(None, mask)

    def loss(params, example, *, key, settings) -> jaxvae.Estimate:
        series = _of_seed(example.inputs, settings, scale)
        start_key, draw_key = jax.random.split(key)
        first, second = jax.random.randint(start_key, (2,), 0, WINDOW if anywhere else 1)
        target, grid = placed(series, first)
        model = training_model
        posterior, there = posteriors(params, series, first, second)
        z = posterior.sample(draw_key)
        log_likelihood = model.likelihood(params, z, grid).log_prob(target)
        kl = kl_divergence(posterior, model.prior(params, grid))
        bound = log_likelihood - kl - _log_units(series, scale)
        surrogate = bound
        if setting.consistency:
            reached = carried(params, z, (second - first).astype(z.dtype) * SPACING)
            surrogate = bound + setting.consistency * there.log_prob(reached)
        noise = scale * jnp.mean(jnp.exp(params.generative["log_noise"]))
        return jaxvae.Estimate(surrogate, bound, {"kl": kl, "noise": noise})

    def posteriors(params, series: data.TimeSeries, *starts: Array) -> list[Any]:
        """Q at each start, encoded side by side."""
        views = jax.vmap(seen_from, (None, 0))(series, jnp.stack(starts))
        stacked = jax.vmap(training_model.posterior, (None, 0, None))(params, views, None)
        return [jax.tree.map(lambda x, n=n: x[n], stacked) for n in range(len(starts))]

    def carried(params, z: Array, duration: Array) -> Array:
        """The state after a time of one's own, by a solve over one unit that all share."""

        def faster(t, state, learnt):
            del t
            z, duration = state
            return duration * dynamics.apply(learnt, z), jnp.zeros_like(duration)

        solution = ode.solve_together(
            faster,
            params.generative["dynamics"],
            (z, duration),
            jnp.ones(1),
            t0=0.0,
            axis_name=EXAMPLES,
            integrator=ode.adaptive(1e-3, 1e-4, max_steps=256),
        )
        return solution.values[0][0]

    def start_state(params, series: data.TimeSeries) -> Array:
        own = _of_seed(series, None, scale)
        return training_model.posterior(params, seen_from(own, middle), None).mean

    def forecast(params, series: data.TimeSeries) -> Array:
        return scale * whole_model.likelihood(params, start_state(params, series), everything).mean

    def states(params, series: data.TimeSeries) -> Array:
        z, times = start_state(params, series), times_of(-BEYOND, WINDOW + BEYOND)
        flow = nn.autonomous(dynamics)
        paths = [
            ode.solve(flow, params.generative["dynamics"], z, side, t0=middle * SPACING).values
            for side in (times[: BEYOND + middle][::-1], times[BEYOND + middle :])
        ]
        return jnp.concatenate([paths[0][::-1], paths[1]])

    return Forecaster(training_model.init, loss, forecast, states)


def recurrent(setting: Setting, with_gaps: bool) -> Forecaster:
    """Two autoregressive networks: one reads the window as it is, one from its end."""
    cell = {"rnn": nn.rnn_cell, "gru": nn.gru_cell}[setting.cell]
    recurrence = (
        nn.anticipating(2, setting.units, cell=cell)
        if with_gaps
        else nn.recurrent(2, setting.units, cell=cell, with_gaps=False)
    )
    model, scale = models.autoregressive(recurrence), setting.scale

    def init(key):
        first, second = jax.random.split(key)
        return {"forward": model.init(first), "backward": model.init(second)}

    def loss(params, example, *, key, settings) -> jaxvae.Estimate:
        del key
        series = _of_seed(example.inputs, settings, scale)
        units = _log_units(series, scale)
        forward = model.log_prob(params["forward"], series) - units
        backward = model.log_prob(params["backward"], _turned(series)) - units
        return jaxvae.Estimate(forward + backward, forward, {"backward": backward})

    def forecast(params, series: data.TimeSeries) -> Array:
        own = _of_seed(series, None, scale)
        ahead, behind = times_of(WINDOW, WINDOW + BEYOND), times_of(-BEYOND, 0)
        after = model.forecast(params["forward"], own, ahead).mean
        before = model.forecast(params["backward"], _turned(own), behind[::-1]).mean
        unknown = jnp.full((WINDOW, 2), jnp.nan)
        return scale * jnp.concatenate([before[::-1], unknown, after])

    return Forecaster(init, loss, forecast, None)


FORECASTERS: dict[str, Callable[[Setting], Forecaster]] = {
    "latent_ode": latent_ode,
    "rnn": partial(recurrent, with_gaps=False),
    "rnn_with_gaps": partial(recurrent, with_gaps=True),
}


def times_of(first: int, last: int) -> Array:
    """Times from the first point's on to before the last one's; that of a window's first is 0."""
    return SPACING * jnp.arange(first, last, dtype=jnp.float32)


def seen_from(series: data.TimeSeries, start: Array | int) -> data.TimeSeries:
    """The series with the start's time as 0."""
    return series._replace(times=series.times - SPACING * jnp.asarray(start, series.times.dtype))


def _of_seed(series: data.TimeSeries, seed: Any, scale: float) -> data.TimeSeries:
    own = series if seed is None else jax.tree.map(lambda x: x[seed], series)
    return own._replace(values=own.values / scale)


def _log_units(series: data.TimeSeries, scale: float) -> Array:
    """What a density of scaled values is too high by, as one of the values themselves."""
    return jnp.sum(jnp.where(series.mask, jnp.log(scale), 0.0))


def _turned(series: data.TimeSeries) -> data.TimeSeries:
    return jax.tree.map(lambda x: x[::-1], series)
