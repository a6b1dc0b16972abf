"""The options that every experiment has, and what they mean for ``jaxvae.fit``."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from experiments import running as basic
from experiments.devices import Devices, mesh_of
from experiments.running import check_positive, check_running, folder_of, seed_keys
from jaxvae import objectives, training


@dataclass(frozen=True)
class Training:
    """How the parameters are learnt."""

    epochs: int = 100
    """Passes over the training rows."""
    batch_size: int = 64
    """Rows in a step, of all devices together."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """Adam, or RMSprop with decay 0.9."""
    learning_rate: float = 1e-3
    """Of the optimiser, at its highest."""
    schedule: Literal["constant", "cosine", "warmup_cosine"] = "constant"
    """Of the learning rate: constant, cosine decay to 0, the same after a linear warm-up."""
    warmup_epochs: int = 1
    """Of warmup_cosine."""
    clip_norm: float | None = None
    """Gradients longer than this (global norm) are scaled down to it."""
    kl_warmup_epochs: int = 0
    """Epochs over which the weight of the KL term rises linearly from 0 to 1."""
    free_bits: float | None = None
    """Nats that each latent dimension may use at no cost."""
    average: float | None = None
    """Decay of an exponential moving average of the parameters, such as 0.999."""
    patience: int | None = None
    """Epochs without a higher validation bound after which a seed stops."""
    parameters: Literal["last", "best", "average"] = "last"
    """Which are evaluated: the last, those with the best validation bound, the average."""
    compute: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the networks; densities and parameters keep float32, or float64."""


@dataclass(frozen=True)
class Running(basic.Running):
    """Where the run is kept, how often, and what is done when something goes wrong."""

    on_failure: Literal["raise", "skip", "halt"] = "raise"
    """When something is not finite: stop, skip the update, or keep the state before it."""
    checkpoint_minutes: float = 1.0
    """Minutes between checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, besides the minutes."""
    keep: int = 2
    """Newest checkpoints that stay."""
    tensorboard: bool = False
    """Write TensorBoard events into the folder too."""
    profile: bool = False
    """Print the compiled step's memory and write a JAX profiler trace into the folder."""


MAY_CHANGE = (
    *("epochs", "out", "resume", "overwrite", "checkpoint_minutes", "checkpoint_steps", "keep"),
    *("tensorboard", "profile"),
    *(name for name in Devices.__dataclass_fields__),
)
"""Options that a resumed run may have other values of."""


@dataclass(frozen=True)
class Session:
    """A run in progress.

    Attributes:
        run: its folder.
        config: with the fields training, running and devices.
        mesh: of the devices, None for one.
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

    def fit(self, loss: Any, init: Any, rows: Any, **options: Any) -> training.Fit:
        """``jaxvae.fit`` with all that the command line says, and ``options`` of one's own."""
        chosen = self.config.training
        steps = training.steps_per_epoch(len(rows), chosen.batch_size)
        from_command_line = {
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
        result = training.fit(loss, init, rows, **(from_command_line | options))
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
    """The optimiser with the schedule, the clipping and the average that were asked for."""
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
    """The ELBO's settings as a function of the step."""
    if not options.kl_warmup_epochs and options.free_bits is None:
        return None
    steps = options.kl_warmup_epochs * steps_per_epoch
    beta = objectives.schedules.linear(0.0, 1.0, steps) if steps else jnp.ones_like
    return lambda step: objectives.ElboSettings(
        beta=beta(step).astype(jnp.float32), free_bits=options.free_bits
    )


def check_options(options: Training, running: Running, validation: bool) -> None:
    """Refuse what cannot be run, before anything is written."""
    for group, names in (
        (options, ("epochs", "batch_size", "learning_rate", "clip_norm", "free_bits", "patience")),
        (running, ("checkpoint_minutes", "checkpoint_steps", "keep")),
    ):
        check_positive(group, *names)
    if (options.patience is not None or options.parameters == "best") and not validation:
        raise ValueError(
            "--patience and --parameters best expected validation rows: --validation N"
        )
    if options.average is not None and not 0 <= options.average < 1:
        raise ValueError(f"--average expected a decay from 0 to below 1, got {options.average}")
    for name in ("warmup_epochs", "kl_warmup_epochs"):
        if not 0 <= getattr(options, name) <= options.epochs:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} expected 0 to --epochs, got {getattr(options, name)}")
    check_running(running)
    if options.parameters == "average" and options.average is None:
        raise ValueError("--parameters average expected --average DECAY, such as 0.999")


def _may_change(options: Training) -> tuple[str, ...]:
    # A decay that is stretched in the middle of a run is neither the old one nor the new one.
    fixed = () if options.schedule == "constant" else ("epochs",)
    return tuple(name for name in MAY_CHANGE if name not in fixed)


@contextmanager
def open_session(name: str, config: Any, recipe: Any = None) -> Iterator[Session]:
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
