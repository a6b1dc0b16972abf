"""What training with ``jaxvae.fit`` costs beside what it trains: engine, seeds, streams.

    python -m benchmarks.engine --out benchmark-results

Contenders of three comparisons run in one process in interleaved repeats (A B A B) of the same
number of steps. The clock is a wall clock from callback to callback, so that everything Python does
between the compiled chunks counts. Programs are compiled before the first repeat, and their
compilation is timed apart. With t the median seconds of a contender's repeats:

    engine_overhead                   t_engine / t_bare - 1
    sixteen_seeds_over_one            t_sixteen / t_one
    sixteen_one_by_one_over_one       t_one_by_one / t_one
    sixteen_shared_out_over_one       t_shared_out / t_one
    sixteen_single_runs_over_best     16 t_one / the least of the three
    streaming_share_of_in_memory      t_memory / t_stream
    waiting_share                     of the stream's time, mean over its chunks

The engine trains exercise 12 (784-256-50, Adam, random pixels) into the folder of a run, with a log
record and a checkpoint every ``log_every`` steps. The bare loop is one compiled loop of jax and
optax that trains the same parameters and does nothing else. Checkpoints are written while training
continues. At the end of a repeat the engine waits until its last checkpoint is written, which a
user's run does only once, at its end; ``engine_overhead_without_last_write`` leaves this wait out.
There is no progress bar. Sixteen seeds of the digits VAE, with the defaults of ``experiments.vae``,
are trained in one fit: by ``vectorised``, the default, by ``one_by_one``, and shared by the
processors as devices.

The stream reads rows of 28 x 28 bytes from an array_record file; rows are scaled on the device, as
are those in memory. After a repeat it reads up to two blocks of 256 steps ahead, for which there is
a pause that is not counted.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

import jaxvae
from benchmarks.shared import fits, machine
from benchmarks.shared.results import ranges, save, table
from benchmarks.shared.timing import SteppedFit, WallClockFit, interleave, interleave_fits
from jaxvae import Example, data, training
from jaxvae.training import Loss

ENGINE, BARE = "engine", "bare loop"
ONE, SIXTEEN, ONE_BY_ONE = "one seed", "sixteen seeds", "sixteen seeds one by one"
SHARED_OUT = "sixteen seeds shared out"
MEMORY, STREAM = "in memory", "stream"
SEEDS = 16
INIT, ORDER, NOISE = 0, 1, 3
"""Streams of randomness with the numbers of ``jaxvae.fit``, so that both train alike."""


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    log_every: int = 1000
    """Steps between log records and between checkpoints, of the engine and of the stream."""
    records: int = 3
    """Log records in a repeat of the engine, of the bare loop and of the stream."""
    seed_steps: int = 300
    """Steps in a repeat of one seed and of sixteen."""
    repeats: int = 7
    """Repeats of each contender."""
    threads: int = 2
    """Processors of the process."""
    batch_size: int = 64
    """Rows in a step."""
    rows: int = 60_000
    """Rows in the data of the engine and of the stream."""
    hidden: int = 256
    """Width of the hidden layers of exercise 12."""
    latent_dim: int = 50
    """Number of latent dimensions of exercise 12."""
    pause: float = 0.5
    """Seconds after each repeat of the stream in which it reads ahead."""
    seed: int = 0
    """Of data, parameters and noise."""
    out: str | None = None
    """Folder for results.json; none by default."""


def exercise_12(config: Config, images: np.ndarray) -> Callable[..., training.Fit]:
    """The call of ``jaxvae.fit`` that ``train_step`` also measures."""
    names = ("batch_size", "hidden", "latent_dim", "seed")
    return fits.exercise_12(images, **{name: getattr(config, name) for name in names})


class BareState(NamedTuple):
    """What a training step changes."""

    params: Any
    optimiser: Any
    step: Array


class BareLoop:
    """One compiled loop over steps, whose state is donated, without log, checkpoints and checks.

    As in ``jaxvae.fit``, the order of an epoch is one sort and the bounds of the steps are summed.

    Args:
        loss: of one example.
        init: takes a key and returns parameters.
        images: the rows.
        key: root of all randomness.
        optimiser: from optax.
        batch_size: rows in a step.
        steps: of the compiled loop.
        loops: in a repeat.
    """

    def __init__(
        self,
        loss: Loss,
        init: Callable[[Array], Any],
        images: np.ndarray,
        *,
        key: Array,
        optimiser: optax.GradientTransformation,
        batch_size: int,
        steps: int,
        loops: int,
    ):
        self._images, self._key, self._loops = jnp.asarray(images), key, loops
        params = jax.jit(init)(stream(key, INIT, 0))
        self.state = BareState(params, optimiser.init(params), jnp.zeros((), jnp.int32))
        self.bound = jnp.zeros(())
        started = time.perf_counter()
        loop = loop_over(mean_loss(loss), optimiser, batch_size, steps)
        jitted = jax.jit(loop, donate_argnums=0)
        self._loop = jitted.lower(self.state, self._images, key).compile()
        self.compile_seconds = time.perf_counter() - started

    def __call__(self) -> float:
        """Seconds for a repeat."""
        started = time.perf_counter()
        for _ in range(self._loops):
            self.state, self.bound = self._loop(self.state, self._images, self._key)
        jax.block_until_ready((self.state, self.bound))
        return time.perf_counter() - started


def stream(key: Array, purpose: int, index: Array | int) -> Array:
    """The key of a purpose at an epoch or a step."""
    return jax.random.fold_in(jax.random.fold_in(key, purpose), index)


def mean_loss(loss: Loss) -> Callable[[Any, Array, Array], Array]:
    """Minus the mean surrogate of a batch, as a function of parameters, images and a key."""

    def mean(params, images, key):
        def one(image, key):
            return loss(params, Example(inputs=image, target=image), key=key).surrogate  # pyright: ignore[reportCallIssue]

        return -jnp.mean(jax.vmap(one)(images, jax.random.split(key, images.shape[0])))

    return mean


def loop_over(
    loss: Callable[[Any, Array, Array], Array],
    optimiser: optax.GradientTransformation,
    batch_size: int,
    steps: int,
) -> Callable[[BareState, Array, Array], tuple[BareState, Array]]:
    """The loop over ``steps`` steps, from a state to the next and the mean bound."""

    def train_step(state: BareState, rows: Array, key: Array) -> tuple[BareState, Array]:
        value, gradient = jax.value_and_grad(loss)(
            state.params, rows, stream(key, NOISE, state.step)
        )
        # Adam mixes its integer counter with floats, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, updates)
        return BareState(params, optimiser_state, state.step + 1), value

    def loop(state: BareState, images: Array, key: Array) -> tuple[BareState, Array]:
        size, stop = images.shape[0], state.step + steps
        per_epoch, flat = size // batch_size, images.reshape(size, -1)

        def epoch(carry):
            number = carry[0].step // per_epoch
            order = jnp.argsort(jax.random.bits(stream(key, ORDER, number), (size,)))

            def step(index, carry):
                state, total = carry
                chosen = lax.dynamic_slice_in_dim(order, index * batch_size, batch_size)
                rows = flat[chosen].reshape(batch_size, *images.shape[1:])
                state, value = train_step(state, rows, key)
                return state, total - value

            first = carry[0].step - number * per_epoch
            last = jnp.minimum(stop - number * per_epoch, per_epoch)
            return lax.fori_loop(first, last, step, carry)

        carry = state, jnp.zeros(())
        state, total = lax.while_loop(lambda carry: carry[0].step < stop, epoch, carry)
        return state, total / steps

    return loop


def measure_engine(config: Config) -> dict[str, Any]:
    """Times of the engine with a run's folder, and of the bare loop."""
    images = np.random.default_rng(config.seed).random((config.rows, 28, 28), np.float32)
    fit: Any = exercise_12(config, images)
    bare = BareLoop(*fit.args, **fit.keywords, steps=config.log_every, loops=config.records)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        opened = training.open_run(folder, config, checkpoint_steps=config.log_every)
        run = stack.enter_context(opened)
        stepped = SteppedFit(
            partial(fit, run=run), steps=config.log_every, chunks=config.repeats * config.records
        )
        stack.enter_context(stepped)
        engine = WallClockFit(stepped, config.records, finish=run.checkpoints.wait)
        bare()  # The engine has had its warm-up.
        engine.finish()
        seconds = interleave({ENGINE: engine, BARE: bare}, config.repeats)
        trained = stepped.result()
    return {
        "steps": dict.fromkeys((ENGINE, BARE), config.log_every * config.records),
        "seconds": seconds,
        "compile_seconds": {ENGINE: trained.compile_seconds, BARE: bare.compile_seconds},
        "last_write_seconds": engine.waited,
        "bound": {ENGINE: float(trained.history[-1]["bound"]), BARE: float(bare.bound)},
    }


def measure_seeds(config: Config) -> dict[str, Any]:
    """Times of one seed, and of sixteen seeds in one fit."""
    fit = fits.digits(config.batch_size)
    keys = jax.vmap(jax.random.key)(jnp.arange(config.seed, config.seed + SEEDS))
    contenders = {
        ONE: partial(fit, key=keys[0]),
        SIXTEEN: partial(fit, key=keys),
        ONE_BY_ONE: partial(fit, key=keys, members=training.one_by_one),
    }
    if 1 < config.threads <= jax.device_count():
        mesh = training.device_mesh(members=config.threads, devices=config.threads)
        contenders[SHARED_OUT] = partial(fit, key=keys, members=training.one_by_one, mesh=mesh)
    return interleave_fits(
        contenders, steps=config.seed_steps, chunks=1, repeats=config.repeats, pauses={}
    )


def measure_streaming(config: Config) -> dict[str, Any]:
    """Times with all rows on the device, and with rows read from a file."""
    images = np.random.default_rng(config.seed).integers(256, size=(config.rows, 28, 28))
    images = images.astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.array_record"
        data.write_array_records(path, images)
        fit: Any = exercise_12(config, images)
        loss, init, in_memory = fit.args
        streamed = data.stream(data.ArrayRecords(path), seed=config.seed)
        contenders = {
            name: partial(jaxvae.fit, loss, init, rows, prepare=fits.from_bytes, **fit.keywords)
            for name, rows in {MEMORY: in_memory, STREAM: streamed}.items()
        }
        return interleave_fits(
            contenders,
            steps=config.log_every,
            chunks=config.records,
            repeats=config.repeats,
            pauses={STREAM: config.pause},
        )


def derive(
    medians: Mapping[str, float], last_write: float, waiting: list[float]
) -> dict[str, float]:
    """The ratios of the module's docstring from median seconds."""
    best = min(medians[name] for name in (SIXTEEN, ONE_BY_ONE, SHARED_OUT) if name in medians)
    return {
        "engine_overhead": medians[ENGINE] / medians[BARE] - 1,
        "engine_overhead_without_last_write": (medians[ENGINE] - last_write) / medians[BARE] - 1,
        **{
            ratio: medians[name] / medians[ONE]
            for ratio, name in {
                "sixteen_seeds_over_one": SIXTEEN,
                "sixteen_one_by_one_over_one": ONE_BY_ONE,
                "sixteen_shared_out_over_one": SHARED_OUT,
            }.items()
            if name in medians
        },
        "sixteen_single_runs_over_best": SEEDS * medians[ONE] / best,
        "streaming_share_of_in_memory": medians[MEMORY] / medians[STREAM],
        "waiting_share": float(np.mean(waiting)),
    }


def measure(config: Config) -> dict[str, Any]:
    """All times and the ratios that follow from them."""
    engine, *others = (part(config) for part in (measure_engine, measure_seeds, measure_streaming))
    merged = {
        name: {key: value for part in (engine, *others) for key, value in part[name].items()}
        for name in ("steps", "seconds", "compile_seconds")
    }
    times = ranges(merged.pop("seconds"))
    medians = times["median_seconds"]
    waiting = others[-1]["waiting_share"][STREAM]
    return {
        **derive(medians, float(np.median(engine["last_write_seconds"])), waiting),
        "milliseconds_per_step": {
            name: 1e3 * t / merged["steps"][name] for name, t in medians.items()
        },
        **times,
        **merged,
        "last_write_seconds": engine["last_write_seconds"],
        "waiting_shares": waiting,
        "last_bound_nats": engine["bound"],
    }


def main(config: Config) -> dict[str, Any]:
    """Measure, print and save; returns the results."""
    with machine.processors(config.threads) as chosen:
        results = {
            "benchmark": "engine",
            "repeats": config.repeats,
            "batch_size": config.batch_size,
            "log_every": config.log_every,
            "rows": config.rows,
            "threads": config.threads,
            "processors": chosen,
            **measure(config),
            **machine.describe(),
        }
    print(table(results, results["milliseconds_per_step"]))
    save(results, config.out)
    return results


if __name__ == "__main__":
    import tyro

    options = tyro.cli(Config, description=__doc__)
    jax.config.update("jax_num_cpu_devices", options.threads)
    main(options)
