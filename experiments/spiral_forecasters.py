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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae
from experiments.spiral_presets import Setting
from jaxvae import data, models, nn, ode
from jaxvae.distributions import kl_divergence
from jaxvae.model import EXAMPLES

WINDOW = 100
SPACING = data.SpiralCurves().final_angle / (data.SpiralCurves().grid_points - 1)
BEYOND = 100
"""Points that are forecast on either side of a window."""


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


@dataclass(frozen=True)
class LatentOde:
    """The latent ODE on its grids of common times, which count from the start.

    Attributes:
        setting: sizes of the networks.
        dynamics: of the latent state.
        training: the model on all times at which points of a window may lie.
        whole: the model at what is forecast, started in the middle of a window.
        before: points of ``training`` before the start.
        middle: index of the start in forecasts.
    """

    setting: Setting
    dynamics: nn.Network
    training: jaxvae.LatentVariableModel
    whole: jaxvae.LatentVariableModel
    before: int
    middle: int

    def loss(self, params, example, *, key, settings) -> jaxvae.Estimate:
        """The ELBO at a start drawn anew, and in the surrogate the consistency with another."""
        scale, last = self.setting.scale, self.before + 1
        series = _of_seed(example.inputs, settings, scale)
        start_key, draw_key = jax.random.split(key)
        first, second = jax.random.randint(start_key, (2,), 0, last)
        target, grid = self._placed(series, first)
        posterior, there = self._posteriors(params, series, first, second)
        z = posterior.sample(draw_key)
        log_likelihood = self.training.likelihood(params, z, grid).log_prob(target)
        kl = kl_divergence(posterior, self.training.prior(params, grid))
        bound = log_likelihood - kl - _log_units(series, scale)
        surrogate = bound
        if self.setting.consistency:
            reached = self._carried(params, z, (second - first).astype(z.dtype) * SPACING)
            surrogate = bound + self.setting.consistency * there.log_prob(reached)
        noise = scale * jnp.mean(jnp.exp(params.generative["log_noise"]))
        return jaxvae.Estimate(surrogate, bound, {"kl": kl, "noise": noise})

    def forecast(self, params, series: data.TimeSeries) -> Array:
        """Means before, in and after the window."""
        everything = models.Grid(None, jnp.ones((2 * BEYOND + WINDOW, 2), bool))
        law = self.whole.likelihood(params, self._start_state(params, series), everything)
        return self.setting.scale * law.mean

    def states(self, params, series: data.TimeSeries) -> Array:
        """Latent states at the same points."""
        z, times = self._start_state(params, series), times_of(-BEYOND, WINDOW + BEYOND)
        flow, start = nn.autonomous(self.dynamics), BEYOND + self.middle
        paths = [
            ode.solve(flow, params.generative["dynamics"], z, side, t0=self.middle * SPACING).values
            for side in (times[:start][::-1], times[start:])
        ]
        return jnp.concatenate([paths[0][::-1], paths[1]])

    def _start_state(self, params, series: data.TimeSeries) -> Array:
        own = _of_seed(series, None, self.setting.scale)
        return self.training.posterior(params, seen_from(own, self.middle), None).mean

    def _placed(self, series: data.TimeSeries, start: Array) -> tuple[Array, models.Grid]:
        """The target on the model's common times."""
        indices = jnp.round(series.times / SPACING).astype(int) + self.before - start
        blank = jnp.zeros((self.before + WINDOW, 2))
        mask = blank.astype(bool).at[indices].set(series.mask)
        return blank.at[indices].set(series.values), models.Grid(None, mask)

    def _posteriors(self, params, series: data.TimeSeries, *starts: Array) -> list[Any]:
        """Q at each start, encoded side by side."""
        views = jax.vmap(seen_from, (None, 0))(series, jnp.stack(starts))
        stacked = jax.vmap(self.training.posterior, (None, 0, None))(params, views, None)
        return [jax.tree.map(lambda x, n=n: x[n], stacked) for n in range(len(starts))]

    def _carried(self, params, z: Array, duration: Array) -> Array:
        """The state after a time of one's own, by a solve over one unit that all share."""

        def faster(t, state, learnt):
            del t
            z, duration = state
            return duration * self.dynamics.apply(learnt, z), jnp.zeros_like(duration)

        solution = ode.solve_together(
            faster,
            params.generative["dynamics"],
            (z, duration),
            jnp.ones(1),
            t0=0.0,
            axis_name=EXAMPLES,
            integrator=INTEGRATOR,
        )
        return solution.values[0][0]


INTEGRATOR = ode.adaptive(1e-3, 1e-4, max_steps=256)


def latent_ode(setting: Setting) -> Forecaster:
    """The latent ODE, with its start at the first point of the window or anywhere in it."""
    anywhere = setting.start == "anywhere"
    before, middle = (WINDOW - 1, WINDOW // 2) if anywhere else (0, 0)
    cell = {"rnn": nn.rnn_cell, "gru": nn.gru_cell}[setting.cell]
    encode = nn.two_sided_encoder if anywhere else nn.recurrent_encoder
    dim = setting.latent_dim
    dynamics = nn.mlp((dim,), (dim,), hidden=setting.dynamics, activation=nn.tanh)

    def model_at(first: int, last: int) -> jaxvae.LatentVariableModel:
        return models.latent_ode(
            encoder=encode(nn.recurrent(2, setting.units, cell=cell), 2 * dim),
            dynamics=dynamics,
            decoder=nn.mlp((dim,), (2,), hidden=setting.decoder),
            latent_dim=dim,
            channels=2,
            common_times=tuple(SPACING * n for n in range(first, last)),
            integrator=INTEGRATOR,
        )

    training = model_at(-before, WINDOW)
    whole = model_at(-BEYOND - middle, WINDOW + BEYOND - middle)
    own = LatentOde(setting, dynamics, training, whole, before, middle)
    return Forecaster(training.init, own.loss, own.forecast, own.states)


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
