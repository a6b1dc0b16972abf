"""Where a run is kept and how often it is repeated: the options that every experiment has."""

import dataclasses
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import training


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


def check_positive(group: Any, *names: str) -> None:
    """Refuse numbers that are not positive and finite; None is no number."""
    for name in names:
        value = getattr(group, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} expected a positive number, got {value}")


def check_unused(group: Any, names: Collection[str], reason: str) -> None:
    """Refuse values, other than the defaults, of options that are not read."""
    for option in dataclasses.fields(group):
        got = getattr(group, option.name)
        if option.name in names and got != option.default:
            flag = option.name.replace("_", "-")
            raise ValueError(f"--{flag} expected {option.default}, got {got}: {reason}")


def check_running(running: Running) -> None:
    """Refuse seeds that are none, and a folder that cannot be both continued and replaced."""
    check_positive(running, "seeds")
    if running.seed < 0:
        raise ValueError(f"--seed expected a number from 0, got {running.seed}")
    if running.resume and running.out is None:
        raise ValueError("--resume expected the folder of the run: add --out FOLDER")
    if running.resume and running.overwrite:
        raise ValueError("--resume and --overwrite exclude each other")


def header(experiment: str, dataset: str, running: Running) -> dict[str, Any]:
    """What metrics.json begins with."""
    seeds = {"seed": running.seed} if running.seeds == 1 else {"seeds": running.seeds}
    return {"experiment": experiment, "dataset": dataset, **seeds}


def seed_keys(running: Running) -> Array:
    """A key for each seed."""
    return jax.vmap(jax.random.key)(running.seed + jnp.arange(running.seeds))


def own_keys(running: Running) -> Array:
    """Another key for each seed, for data and evaluation; ``seed_keys`` are those of the training.

    A split key and one that a small number is folded into may be the same, so that the test set
    could be the training set: the number here is one that nothing counts up to.
    """
    return jax.vmap(jax.random.fold_in, (0, None))(seed_keys(running), 0x0DDBA11)


def folder_of(experiment: str, running: Running) -> str:
    """That of the run, named by the time where none was asked for."""
    return running.out or f"runs/{experiment}/{time.strftime('%Y%m%d-%H%M%S')}"


def open_run(
    experiment: str, config: Any, may_change: tuple[str, ...] = ()
) -> AbstractContextManager[training.Run]:
    """The folder of a run that trains all seeds; ``config`` has the field running.

    Args:
        experiment: its name.
        config: all options.
        may_change: those, besides where the run is kept, that a resumed run may have others of.
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
