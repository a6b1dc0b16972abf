"""The latent ODE of spirals, and what makes its flow extrapolate.

A latent ODE that always starts at the first point of a series has no reason to carry one series'
latent path on along the paths of those that begin where it ends: the same place on a spiral may
have another latent state at each distance from the start. Three changes mend this. The start is
drawn anywhere in the series, with a prior that is the same at each; the state that the flow reaches
at a second start is made likely under the posterior there; and as the encoder soon knows the noise
of a thousand series by heart, it also learns from series that the model draws. What it still gets
wrong about a new series, importance sampling of the posterior corrects.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

import jaxvae
from experiments.spiral_forecasters import (
    BEYOND,
    SPACING,
    WINDOW,
    Forecast,
    Forecaster,
    log_units,
    of_seed,
    seen_from,
    times_of,
)
from experiments.spiral_presets import Setting
from jaxvae import data, metrics, models, nn, ode
from jaxvae.distributions import Normal, kl_divergence
from jaxvae.model import EXAMPLES


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
        """The ELBO at a start drawn anew; the surrogate has the terms that train the encoder too.

        Both are log-densities, under q at a second start, of the state that the flow reaches there:
        q given the series itself, and q given one that the model has drawn from the same state, as
        in the sleep phase of a Helmholtz machine.
        """
        setting = self.setting
        series = of_seed(example.inputs, settings, setting.scale)
        start_key, draw_key, sleep_key = jax.random.split(key, 3)
        first, second = jax.random.randint(start_key, (2,), 0, self.before + 1)
        target, grid = self._placed(series, first)
        posterior, there = self._posteriors(params, series, first, second)
        z = posterior.sample(draw_key)
        law = self.training.likelihood(params, z, grid)
        kl = kl_divergence(posterior, self.training.prior(params, grid))
        bound = law.log_prob(target) - kl - log_units(series, setting.scale)
        surrogate = bound
        if setting.consistency or setting.sleep:
            reached = self._carried(params, z, (second - first).astype(z.dtype) * SPACING)
            dreamt = self._dreamt(law, len(series.times), first, sleep_key)
            (asleep,) = self._posteriors(params, lax.stop_gradient(dreamt), second)
            surrogate += setting.consistency * there.log_prob(reached)
            surrogate += setting.sleep * asleep.log_prob(lax.stop_gradient(reached))
        noise = setting.scale * jnp.mean(jnp.exp(params.generative["log_noise"]))
        return jaxvae.Estimate(surrogate, bound, {"kl": kl, "noise": noise})

    def forecast(self, params, series: data.TimeSeries, key) -> Forecast:
        """Means before, in and after the windows."""
        scale = self.setting.scale
        examples = jax.vmap(self._to_forecast)(series)
        if not self.setting.samples:
            mean = jax.vmap(self._decoded, (None, 0), axis_name=EXAMPLES)(params, examples)
            return Forecast(scale * mean, None)
        found = metrics.posterior_predictive(
            self.whole,
            params,
            examples,
            key=key,
            num_samples=self.setting.samples,
            proposal=wider,
        )
        return Forecast(scale * found.mean, scale * found.means)

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
        own = of_seed(series, None, self.setting.scale)
        return self.training.posterior(params, seen_from(own, self.middle), None).mean

    def _to_forecast(self, series: data.TimeSeries) -> jaxvae.Example:
        """What is known of a window, on the grid of the forecast."""
        own = seen_from(of_seed(series, None, self.setting.scale), self.middle)
        indices = jnp.round(own.times / SPACING).astype(int) + self.middle + BEYOND
        blank = jnp.zeros((2 * BEYOND + WINDOW, 2))
        mask = blank.astype(bool).at[indices].set(own.mask)
        return jaxvae.Example(own, blank.at[indices].set(own.values), models.Grid(None, mask))

    def _decoded(self, params, example: jaxvae.Example) -> Array:
        z = self.whole.posterior(params, example.inputs, example.context).mean
        return self.whole.likelihood(params, z, example.context).mean

    def _dreamt(self, law, count: int, start: Array, key) -> data.TimeSeries:
        """A window that the model draws, of which as many points are seen as of a true one."""
        place_key, noise_key = jax.random.split(key)
        places = jnp.sort(jax.random.permutation(place_key, WINDOW)[:count])
        values = law.sample(noise_key)[places + self.before - start]
        times = SPACING * places.astype(values.dtype)
        return data.TimeSeries(times, values, jnp.ones(values.shape, bool))

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


def wider(posterior: Normal) -> Normal:
    """Twice the standard deviation: the posterior of a new series is wider than q says."""
    return Normal(posterior.mean, posterior.log_scale + jnp.log(2.0))
