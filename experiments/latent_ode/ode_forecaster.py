"""The latent ODE of spirals, and what makes its flow extrapolate.

Nothing forces a latent ODE that starts at the first point of each series to extrapolate: the latent
path of one series need not continue along the paths of those that begin where it ends, as every
window may use latent states of its own for the same place on a spiral. Three changes mend this.

- The start is drawn anywhere in the series, with the same prior everywhere.
- The decoder is affine and the latent space has one dimension more than the data, so that points
  that look alike have the same latent state, up to the direction of turning.
- The encoder also learns from sleep-phase samples, which are series that the model draws, because
  it would otherwise memorise the noise of a thousand training series.

Importance sampling corrects what the encoder still gets wrong about a new series.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

import jaxvae
from experiments.latent_ode.forecaster import (
    BEYOND,
    SPACING,
    WINDOW,
    Forecast,
    Forecaster,
    Setting,
    log_units,
    of_seed,
    seen_from,
    times_of,
)
from jaxvae import metrics, models, nn, ode
from jaxvae.distributions import kl_divergence


@dataclass(frozen=True)
class LatentOde:
    """The latent ODE on two grids of common times, which are relative to its start.

    Attributes:
        setting: sizes of the networks.
        dynamics: network of the latent vector field.
        training: the model at all times at which the points of a window may lie.
        whole: the model at all times that are forecast, when it starts in the middle of a window.
        before: number of points of ``training`` before the start.
        middle: index in the window of the start of a forecast.
    """

    setting: Setting
    dynamics: nn.Network
    training: jaxvae.LatentVariableModel
    whole: jaxvae.LatentVariableModel
    before: int
    middle: int

    def loss(self, params, example, *, key, settings) -> jaxvae.Estimate:
        """The ELBO at a random start; the surrogate adds the sleep phase of a Helmholtz machine.

        The sleep-phase term is the encoder's log-density at the latent state from which the model
        drew a series. These states come from q, not from the prior.
        """
        setting = self.setting
        series = of_seed(example.inputs, settings, setting.scale)
        start_key, latent_key, sleep_key = jax.random.split(key, 3)
        start = jax.random.randint(start_key, (), 0, self.before + 1)
        target, grid = self._placed(series, start)
        posterior = self._encoded(params, series, start)
        z = posterior.sample(latent_key)
        likelihood = self.training.likelihood(params, z, grid)
        kl = kl_divergence(posterior, self.training.prior(params, grid))
        bound = likelihood.log_prob(target) - kl - log_units(series, setting.scale)
        surrogate = bound
        if setting.sleep:
            z, likelihood = lax.stop_gradient((z, likelihood))
            drawn = self._sleep_sample(likelihood, len(series.times), start, sleep_key)
            surrogate += setting.sleep * self._encoded(params, drawn, start).log_prob(z)
        noise = setting.scale * jnp.mean(jnp.exp(params.generative["likelihood"]["log_scale"]))
        return jaxvae.Estimate(surrogate, bound, {"kl": kl, "noise": noise})

    def forecast(self, params, series: jaxvae.TimeSeries, key) -> Forecast:
        """Means before, in and after the windows, from the middle of each window."""
        scale = self.setting.scale
        examples = jax.vmap(self._to_forecast)(series)
        if not self.setting.samples:
            mean = jaxvae.map_examples(partial(self._decoded, params), examples)
            return Forecast(scale * mean, None)
        found = metrics.posterior_predictive(
            self.whole, params, examples, key=key, num_samples=self.setting.samples
        )
        return Forecast(scale * found.mean, scale * found.means)

    def states(self, params, series: jaxvae.TimeSeries) -> Array:
        """Latent states at the points of a forecast."""
        own = of_seed(series, None, self.setting.scale)
        z, times = self._encoded(params, own, self.middle).mean, times_of(-BEYOND, WINDOW + BEYOND)
        flow, start = nn.autonomous(self.dynamics), BEYOND + self.middle
        paths = [
            ode.solve(flow, params.generative["dynamics"], z, side, t0=self.middle * SPACING).values
            for side in (times[:start][::-1], times[start:])
        ]
        return jnp.concatenate([paths[0][::-1], paths[1]])

    def _to_forecast(self, series: jaxvae.TimeSeries) -> jaxvae.Example:
        """The observations of a window on the grid of the forecast."""
        own = seen_from(of_seed(series, None, self.setting.scale), self.middle)
        indices = jnp.round(own.times / SPACING).astype(int) + self.middle + BEYOND
        blank = jnp.zeros((2 * BEYOND + WINDOW, 2))
        mask = blank.astype(bool).at[indices].set(own.mask)
        return jaxvae.Example(own, blank.at[indices].set(own.values), jaxvae.Grid(None, mask))

    def _decoded(self, params, example: jaxvae.Example) -> Array:
        """Means that follow from the posterior mean."""
        z = self.whole.posterior(params, example.inputs, example.context).mean
        return self.whole.likelihood(params, z, example.context).mean

    def _sleep_sample(self, likelihood, count: int, start: Array, key) -> jaxvae.TimeSeries:
        """A window drawn from the model, with as many observed points as a true one."""
        place_key, noise_key = jax.random.split(key)
        places = jnp.sort(jax.random.permutation(place_key, WINDOW)[:count])
        values = likelihood.sample(noise_key)[places + self.before - start]
        times = SPACING * places.astype(values.dtype)
        return jaxvae.TimeSeries(times, values, jnp.ones(values.shape, bool))

    def _placed(self, series: jaxvae.TimeSeries, start: Array) -> tuple[Array, jaxvae.Grid]:
        """The observations of a window on the grid of ``training``."""
        indices = jnp.round(series.times / SPACING).astype(int) + self.before - start
        blank = jnp.zeros((self.before + WINDOW, 2))
        mask = blank.astype(bool).at[indices].set(series.mask)
        return blank.at[indices].set(series.values), jaxvae.Grid(None, mask)

    def _encoded(self, params, series: jaxvae.TimeSeries, start: Array | int) -> Any:
        """The posterior of the latent state at the start."""
        return self.training.posterior(params, seen_from(series, start), None)


INTEGRATOR = ode.adaptive(1e-3, 1e-4, max_steps=256)


def latent_ode(setting: Setting) -> Forecaster:
    """The latent ODE; the setting says where in the window it starts."""
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
