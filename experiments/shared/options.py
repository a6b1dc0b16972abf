"""The options that experiments have in common, and the checks of what was given for them."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Running:
    """Where the run is kept, and how often it is repeated."""

    out: str | None = None
    """Folder of the run; runs/NAME/TIME by default."""
    resume: bool = False
    """Continue the interrupted run in --out; its other options must be the same."""
    overwrite: bool = False
    """Replace the run that is already in --out."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """Number of seeds, all in one compiled run."""


@dataclass(frozen=True)
class MonitoredRunning(Running):
    """Where the run is kept, how often it is repeated, and how it is monitored."""

    on_failure: Literal["raise", "skip", "halt"] = "raise"
    """When a number is not finite: stop, skip the update, or keep the state before it."""
    checkpoint_minutes: float = 1.0
    """Minutes between checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, in addition to those by the minute."""
    keep: int = 2
    """Number of newest checkpoints that are kept."""
    tensorboard: bool = False
    """Also write TensorBoard events into the folder."""
    profile: bool = False
    """Print the compiled step's memory and write a JAX profiler trace into the folder."""


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
    """Largest learning rate of the schedule."""
    schedule: Literal["constant", "cosine", "warmup_cosine"] = "constant"
    """Learning rate: constant, cosine decay to 0, or cosine decay after a linear warm-up."""
    warmup_epochs: int = 1
    """Epochs of the warm-up in warmup_cosine."""
    clip_norm: float | None = None
    """Gradients with a larger global norm are scaled down to this one."""
    kl_warmup_epochs: int = 0
    """Epochs over which the weight of the KL term rises linearly from 0 to 1."""
    free_bits: float | None = None
    """Nats of KL that each latent dimension may use at no cost."""
    average: float | None = None
    """Decay of an exponential moving average of the parameters, such as 0.999."""
    patience: int | None = None
    """Epochs without a higher validation bound after which a seed stops."""
    parameters: Literal["last", "best", "average"] = "last"
    """Parameters to evaluate: the last, those with the best validation bound, the average."""
    compute: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the networks; densities and parameters keep float32, or float64."""


@dataclass(frozen=True)
class Devices:
    """Which devices work on the run; one process sees its own devices, several see all."""

    devices: Literal["one", "all"] = "one"
    """One device, or all of them, which share every batch."""
    member_groups: int | None = None
    """Groups of devices that share the seeds; by default one for each processor of a CPU."""
    distributed: bool = False
    """This is one of several processes that SLURM, Kubernetes or Cloud TPU started."""
    coordinator: str | None = None
    """HOST:PORT of the first process, where no such system tells it."""
    processes: int | None = None
    """Number of processes."""
    rank: int | None = None
    """Number of this process, from 0."""


def check_positive(group: Any, *names: str) -> None:
    """Refuse numbers that are not positive and finite; None passes."""
    for name in names:
        value = getattr(group, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{flag(name)} expected a positive number, got {value}")


def check_unused(group: Any, names: Collection[str], reason: str) -> None:
    """Refuse values other than the default of options that the experiment does not use."""
    for option in dataclasses.fields(group):
        got = getattr(group, option.name)
        if option.name in names and got != option.default:
            raise ValueError(f"{flag(option.name)} expected {option.default}, got {got}: {reason}")


def check_running(running: Running) -> None:
    """Refuse impossible seeds, and a folder that is to be both continued and replaced."""
    check_positive(running, "seeds")
    if running.seed < 0:
        raise ValueError(f"--seed expected a number from 0, got {running.seed}")
    if running.resume and running.out is None:
        raise ValueError("--resume expected the folder of the run: add --out FOLDER")
    if running.resume and running.overwrite:
        raise ValueError("--resume and --overwrite exclude each other")


def check_options(options: Training, running: MonitoredRunning, validation: bool) -> None:
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
            raise ValueError(f"{flag(name)} expected 0 to --epochs, got {getattr(options, name)}")
    check_running(running)
    if options.parameters == "average" and options.average is None:
        raise ValueError("--parameters average expected --average DECAY, such as 0.999")


def flag(name: str) -> str:
    """The option on the command line of a field's name."""
    return f"--{name.replace('_', '-')}"
