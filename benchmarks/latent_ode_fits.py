"""What ``latent_ode_step`` trains: its options, its data, and the calls of ``jaxvae.fit``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import jaxvae
from jaxvae import data, models, nn, objectives, ode, training
from jaxvae.model import Example
from jaxvae.series import Grid

OURS, ALONE = "jaxvae", "jaxvae, one device"
CHANNELS = 2


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    steps: int = 20
    """Steps in a turn, the same for both."""
    repeats: int = 7
    """Turns of each contender."""
    threads: int = 2
    """Threads of PyTorch, and processors of the process, each a device of JAX's."""
    series: int = 1000
    """Series in the data and in a step."""
    points: int = 100
    """Points of a series."""
    latent_dim: int = 4
    """Size of the latent state."""
    encoder_hidden: int = 25
    """Size of the encoder's state."""
    hidden: int = 20
    """Width of the hidden layers of field and decoder."""
    noise: float = 0.3
    """Standard deviation of the likelihood, which is that of the data."""
    rtol: float = 1e-3
    """Relative tolerance."""
    atol: float = 1e-4
    """Absolute tolerance."""
    max_steps: int = 128
    """After which our solve has failed."""
    learning_rate: float = 1e-2
    """Of Adam."""
    torch: bool = True
    """Whether to run torchdiffeq too."""
    seed: int = 0
    """Of data, parameters and noise."""
    out: str | None = None
    """Folder for results.json; none by default."""


def observed(config: Config) -> jaxvae.TimeSeries:
    """The spirals of a run."""
    drawn = data.spirals(config.series, window=config.points, key=jax.random.key(config.seed))
    return jax.tree.map(np.asarray, drawn.observed)


def as_example(series: jaxvae.TimeSeries, /, *, key: Any) -> Example:
    """All points are seen, and all are scored at the common times."""
    del key
    return Example(series, series.values, Grid(None, jnp.asarray(series.mask)))


def our_fit(
    config: Config, series: jaxvae.TimeSeries, mesh: Mesh | None = None
) -> Callable[..., training.Fit]:
    """The call of ``jaxvae.fit`` that is measured, but for its number of steps."""
    d, width = config.latent_dim, config.hidden
    model = models.latent_ode(
        encoder=nn.recurrent_encoder(
            nn.recurrent(CHANNELS, config.encoder_hidden, with_gaps=False), 2 * d
        ),
        dynamics=nn.mlp((d,), (d,), hidden=(width, width), activation=jax.nn.elu),
        decoder=nn.mlp((d,), (CHANNELS,), hidden=(width,)),
        latent_dim=d,
        channels=CHANNELS,
        integrator=ode.adaptive(
            config.rtol, config.atol, solver=ode.Dopri5(), max_steps=config.max_steps
        ),
        noise=config.noise,
        common_times=tuple(series.times[0].tolist()),
    )
    return partial(
        jaxvae.fit,
        partial(objectives.elbo, model),
        model.init,
        series,
        key=jax.random.key(config.seed),
        optimiser=optax.adam(config.learning_rate),
        batch_size=config.series,
        prepare=as_example,
        mesh=mesh,
    )


def our_fits(config: Config, series: jaxvae.TimeSeries) -> dict[str, Callable[..., training.Fit]]:
    """The contenders of ours."""
    if config.threads == 1:
        return {OURS: our_fit(config, series)}
    mesh = training.device_mesh(devices=config.threads)
    return {OURS: our_fit(config, series, mesh), ALONE: our_fit(config, series)}
