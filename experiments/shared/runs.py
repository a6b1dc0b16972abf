"""The folder of a run, the keys of its seeds, and what the options mean for ``jaxvae.fit``."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from experiments.shared.options import Devices, Running, Training
from jaxvae import objectives, training

MAY_CHANGE = (
    *("epochs", "out", "resume", "overwrite", "checkpoint_minutes", "checkpoint_steps", "keep"),
    *("tensorboard", "profile"),
    *(name for name in Devices.__dataclass_fields__),
)
"""Options that may have other values when a run is resumed."""


def header(experiment: str, dataset: str, running: Running) -> dict[str, Any]:
    """The first entries of metrics.json."""
    seeds = {"seed": running.seed} if running.seeds == 1 else {"seeds": running.seeds}
    return {"experiment": experiment, "dataset": dataset, **seeds}


def seed_keys(running: Running) -> Array:
    """The key of each seed's training."""
    return jax.vmap(jax.random.key)(running.seed + jnp.arange(running.seeds))


def data_keys(running: Running) -> Array:
    """The key of each seed's data and evaluation, independent of ``seed_keys``.

    The number that is folded in must be one that no counter reaches: a key that is split and the
    same key with a small number folded in can give equal keys, and then the test set would be the
    training set.
    """
    return jax.vmap(jax.random.fold_in, (0, None))(seed_keys(running), 0x0DDBA11)


def folder_of(experiment: str, running: Running) -> str:
    """The run's folder, named by the time if --out gives none."""
    return running.out or f"runs/{experiment}/{time.strftime('%Y%m%d-%H%M%S')}"


def mesh_of(options: Devices, seeds: int) -> Mesh | None:
    """All devices, or the processors of this machine if several seeds share them, or None."""
    groups = options.member_groups
    if options.devices == "all" or jax.process_count() > 1:
        return training.device_mesh(members=groups or 1)
    if groups is None:
        processors = jax.local_device_count() if jax.default_backend() == "cpu" else 1
        groups = max(n for n in range(1, processors + 1) if seeds % n == 0)
    return training.device_mesh(members=groups, devices=groups) if groups > 1 else None


def open_run(
    experiment: str, config: Any, may_change: tuple[str, ...] = ()
) -> AbstractContextManager[training.Run]:
    """Open the folder of a run whose seeds are a leading axis, even if there is one seed only.

    Args:
        experiment: its name.
        config: all options, with the field ``running``.
        may_change: names of options that may differ when the run is resumed, besides those that
            say where it is kept.
    """
    running = config.running
    return training.open_run(
        folder_of(experiment, running),
        config,
        members=running.seeds,
        resume=running.resume,
        overwrite=running.overwrite,
        may_change=("out", "resume", "overwrite", *may_change),
    )


@contextmanager
def open_session(name: str, config: Any, recipe: Any = None) -> Iterator["Session"]:
    """Open the run's folder; ``config`` has the fields training, running and devices."""
    running, devices = config.running, config.devices
    mesh = mesh_of(devices, running.seeds)
    with ExitStack() as stack:
        run = stack.enter_context(
            training.open_run(
                folder_of(name, running),
                config,
                recipe=recipe,
                members=running.seeds if running.seeds > 1 else None,
                resume=running.resume,
                overwrite=running.overwrite,
                may_change=_may_change(config.training),
                checkpoint_steps=running.checkpoint_steps,
                checkpoint_minutes=running.checkpoint_minutes,
                keep=running.keep,
            )
        )
        session = Session(run, config, mesh)
        if running.tensorboard and jax.process_index() == 0:
            events = training.tensorboard(run.directory / "tensorboard")
            session.callbacks.append(stack.enter_context(events))
        yield session


def _may_change(options: Training) -> tuple[str, ...]:
    # A decay that is stretched in the middle of a run is neither the old one nor the new one.
    fixed = () if options.schedule == "constant" else ("epochs",)
    return tuple(name for name in MAY_CHANGE if name not in fixed)


@dataclass(frozen=True)
class Session:
    """A run in progress, with the options of its command line.

    Attributes:
        run: its folder.
        config: with the fields training, running and devices.
        mesh: of the devices, None for a single one.
        callbacks: for ``fit``.
    """

    run: training.Run
    config: Any
    mesh: Mesh | None
    callbacks: list[Any] = field(default_factory=list)

    @property
    def members(self) -> int | None:
        """Number of seeds, None for a single one."""
        return self.config.running.seeds if self.config.running.seeds > 1 else None

    def fit(self, loss: Any, init: Any, rows: Any, **arguments: Any) -> training.Fit:
        """``jaxvae.fit`` as the options say; ``arguments`` of the call come before them."""
        chosen = self.config.training
        steps = training.steps_per_epoch(len(rows), chosen.batch_size)
        from_options = {
            "key": self._keys(),
            "num_steps": chosen.epochs * steps,
            "optimiser": optimiser(chosen, steps),
            "batch_size": chosen.batch_size,
            "settings": settings(chosen, steps),
            "patience": chosen.patience,
            "keep_best": chosen.parameters == "best",
            "on_failure": self.config.running.on_failure,
            "mesh": self.mesh,
            "run": self.run,
            "callbacks": self.callbacks,
            "profile": self.run.directory / "profile" if self.config.running.profile else None,
        }
        result = training.fit(loss, init, rows, **(from_options | arguments))
        if self.config.running.profile:
            print("\n" + training.format_memory(result.memory_bytes))
        return result

    def chosen(self, result: training.Fit) -> Any:
        """The parameters that --parameters asks for."""
        return training.chosen_params(result.state, self.config.training.parameters)

    def _keys(self) -> Array:
        keys = seed_keys(self.config.running)
        return keys if self.members else keys[0]


def optimiser(options: Training, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimiser with the schedule, the clipping and the average that the options ask for."""
    peak, steps = options.learning_rate, options.epochs * steps_per_epoch
    warmup = options.warmup_epochs * steps_per_epoch
    schedules: dict[str, Callable[[], Any]] = {
        "constant": lambda: peak,
        "cosine": lambda: optax.cosine_decay_schedule(peak, steps),
        "warmup_cosine": lambda: optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps),
    }
    make = {"adam": optax.adam, "rmsprop": optax.rmsprop}[options.optimiser]
    chosen = make(schedules[options.schedule]())
    if options.clip_norm is not None:
        chosen = optax.chain(optax.clip_by_global_norm(options.clip_norm), chosen)
    return chosen if options.average is None else training.with_average(chosen, options.average)


def settings(options: Training, steps_per_epoch: int) -> Callable[[Array], Any] | None:
    """The ELBO's settings as a function of the step; None if they are the usual ones."""
    if not options.kl_warmup_epochs and options.free_bits is None:
        return None
    steps = options.kl_warmup_epochs * steps_per_epoch
    beta = objectives.schedules.linear(0.0, 1.0, steps) if steps else jnp.ones_like
    return lambda step: objectives.ElboSettings(
        beta=beta(step).astype(jnp.float32), free_bits=options.free_bits
    )
