"""Which devices an experiment runs on."""

from dataclasses import dataclass
from typing import Literal

import jax
from jax.sharding import Mesh

from jaxvae import training


@dataclass(frozen=True)
class Devices:
    """Which devices work on the run; one process sees its own, several see all."""

    devices: Literal["one", "all"] = "one"
    """One, or every batch shared out over all."""
    member_groups: int | None = None
    """Groups of devices that the seeds are shared out over; by default the processors of a CPU."""
    distributed: bool = False
    """One of several processes, which SLURM, Kubernetes or Cloud TPU tell of themselves."""
    coordinator: str | None = None
    """HOST:PORT of the first process, where nothing tells of it."""
    processes: int | None = None
    """Their number."""
    rank: int | None = None
    """The number of this one, from 0."""


def mesh_of(options: Devices, seeds: int) -> Mesh | None:
    """All devices, or the processors of this machine if several seeds share them, or None."""
    groups = options.member_groups
    if options.devices == "all" or jax.process_count() > 1:
        return training.device_mesh(members=groups or 1)
    if groups is None:
        processors = jax.local_device_count() if jax.default_backend() == "cpu" else 1
        groups = max(n for n in range(1, processors + 1) if seeds % n == 0)
    return training.device_mesh(members=groups, devices=groups) if groups > 1 else None
