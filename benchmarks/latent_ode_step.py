"""The training step of the latent ODE on spirals, against torchdiffeq's.

A 25-unit tanh recurrence that reads backwards, a field 4-20-20-4 (ELU), a decoder 4-20-2 (ReLU),
1,000 series of 100 points, full batch, Dormand-Prince's pair at tolerances of 1e-3 and 1e-4, steps
differentiated, Adam, float32:

    python -m benchmarks.latent_ode_step --out benchmark-results

``jaxvae.fit``, whose series share the solver's steps (``common_times``), runs against the same
network in PyTorch with torchdiffeq's ``odeint``, in one process and in interleaved repeats (A B A
B) of the same number of training steps. Each processor is a device of JAX and takes its share of
the batch; a second contender leaves the whole batch on one device. PyTorch has as many threads.
Programs are compiled before the first repeat, and their compilation is timed apart. With t the
median seconds of a contender's repeats:

    seconds_per_step             t / steps
    speedup_over_torchdiffeq     t_torchdiffeq / t_jaxvae
    speedup_of_sharing           t_one_device / t_jaxvae

The error of a solver's step is one number in both: ours is the largest root mean square among the
series of a device, and torchdiffeq's is the root mean square over all series, which allows longer
steps. The initial weights have the same distributions and are not the same numbers.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import jaxvae
from benchmarks.shared import machine
from benchmarks.shared.results import ranges, save, table
from benchmarks.shared.timing import SteppedFit, interleave
from jaxvae import data, models, nn, objectives, ode, training
from jaxvae.model import Example
from jaxvae.series import Grid

OURS, ALONE, PEER = "jaxvae", "jaxvae, one device", "torchdiffeq"
CHANNELS = 2
MISSING = 'torchdiffeq is not installed, so it was not run: pip install "jaxvae[peers]"'


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    steps: int = 20
    """Training steps in a repeat, the same for all."""
    repeats: int = 7
    """Repeats of each contender."""
    threads: int = 2
    """Threads of PyTorch, and processors of the process, each of them a device of JAX."""
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
    """Standard deviation of the likelihood, as in the data."""
    rtol: float = 1e-3
    """Relative tolerance."""
    atol: float = 1e-4
    """Absolute tolerance."""
    max_steps: int = 128
    """Steps after which our solve fails."""
    learning_rate: float = 1e-2
    """Learning rate of Adam."""
    torch: bool = True
    """Whether to run torchdiffeq."""
    seed: int = 0
    """Seed of data, parameters and noise."""
    out: str | None = None
    """Folder for results.json; none by default."""


def observed(config: Config) -> jaxvae.TimeSeries:
    """The spirals of a run."""
    drawn = data.spirals(config.series, window=config.points, key=jax.random.key(config.seed))
    return jax.tree.map(np.asarray, drawn.observed)


def as_example(series: jaxvae.TimeSeries, /, *, key: Any) -> Example:
    """An example whose points are all encoded and all scored, at the common times."""
    del key
    return Example(series, series.values, Grid(None, jnp.asarray(series.mask)))


def our_fit(
    config: Config, series: jaxvae.TimeSeries, mesh: Mesh | None = None
) -> Callable[..., training.Fit]:
    """The measured call of ``jaxvae.fit``, without its number of steps."""
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
        likelihood=models.normal(config.noise),
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
    """Our contenders: the batch shared by all devices, and on one device."""
    if config.threads == 1:
        return {OURS: our_fit(config, series)}
    mesh = training.device_mesh(devices=config.threads)
    return {OURS: our_fit(config, series, mesh), ALONE: our_fit(config, series)}


def torch_loss(config: Config, series: jaxvae.TimeSeries) -> Any:
    """The same network and loss in PyTorch, with torchdiffeq's solver."""
    import torch  # pyright: ignore[reportMissingImports]

    from benchmarks.shared.torch_peers import LatentOdeLoss

    torch.manual_seed(config.seed)
    return LatentOdeLoss(
        torch.tensor(series.times[0]),
        channels=CHANNELS,
        noise=config.noise,
        rtol=config.rtol,
        atol=config.atol,
        latent_dim=config.latent_dim,
        encoder_hidden=config.encoder_hidden,
        hidden=config.hidden,
    )


def torch_contender(config: Config, series: jaxvae.TimeSeries) -> tuple[dict[str, Any], list[str]]:
    """torchdiffeq, warmed up, or a sentence that says what is missing."""
    if not config.torch:
        return {}, []
    try:
        import torch  # pyright: ignore[reportMissingImports]

        from benchmarks.shared.torch_peers import TorchTraining

        loss = torch_loss(config, series)
    except ImportError:
        return {}, [MISSING]
    torch.set_num_threads(config.threads)
    training = TorchTraining(
        np.array(series.values),
        loss,
        compiled=False,
        fused=True,
        batch_size=config.series,
        steps=config.steps,
        learning_rate=config.learning_rate,
    )
    return {PEER: training}, []


def derive(medians: Mapping[str, float], steps: int) -> dict[str, Any]:
    """The ratios of the module's docstring from median seconds, without an absent peer."""
    results: dict[str, Any] = {"seconds_per_step": {n: t / steps for n, t in medians.items()}}
    if PEER in medians:
        results["speedup_over_torchdiffeq"] = medians[PEER] / medians[OURS]
    if ALONE in medians:
        results["speedup_of_sharing"] = medians[ALONE] / medians[OURS]
    return results


def measure(config: Config) -> dict[str, Any]:
    """All times and the ratios that follow from them."""
    series = observed(config)
    peers, missing = torch_contender(config, series)
    with ExitStack() as stack:
        ours = {
            name: stack.enter_context(SteppedFit(fit, steps=config.steps, chunks=config.repeats))
            for name, fit in our_fits(config, series).items()
        }
        seconds = interleave({**ours, **peers}, config.repeats)
        trained = {name: fit.result() for name, fit in ours.items()}
    times = ranges(seconds)
    return {
        **derive(times["median_seconds"], config.steps),
        **times,
        "compile_seconds": {name: fit.compile_seconds for name, fit in trained.items()}
        | {name: run.compile_seconds for name, run in peers.items()},
        "last_loss_nats": {name: -float(fit.history[-1]["bound"]) for name, fit in trained.items()}
        | {name: float(run.last_loss) for name, run in peers.items()},
        "missing": missing,
    }


def main(config: Config) -> dict[str, Any]:
    """Measure, print and save; returns the results."""
    with machine.processors(config.threads) as chosen:
        if config.threads > 1:
            jax.config.update("jax_num_cpu_devices", config.threads)
        if jax.default_backend() != "cpu":
            raise ValueError(
                f"latent_ode_step expected the CPU, got {jax.default_backend()}; "
                "set JAX_PLATFORMS=cpu"
            )
        results = {
            "benchmark": "latent_ode_step",
            "steps": config.steps,
            "repeats": config.repeats,
            "series": config.series,
            "points": config.points,
            "threads": config.threads,
            "processors": chosen,
            **measure(config),
            **machine.describe(),
        }
    milliseconds = {name: 1e3 * t for name, t in results["seconds_per_step"].items()}
    print(table(results, milliseconds))
    save(results, config.out)
    return results


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
