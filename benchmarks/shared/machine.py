"""The machine that a benchmark runs on: its processors and versions, for the record."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax


def two_at_most() -> int:
    """Two, or one if the process may use only one processor."""
    if hasattr(os, "sched_getaffinity"):
        return min(2, len(os.sched_getaffinity(0)))
    return min(2, os.cpu_count() or 1)


@contextlib.contextmanager
def processors(count: int) -> Iterator[list[int] | None]:
    """Confine the process to ``count`` processors; gives None if the system cannot do this.

    It has to come before JAX first runs a program, as XLA then chooses its number of threads.
    """
    if not hasattr(os, "sched_setaffinity"):
        print("This system cannot confine a process: XLA uses all processors.")
        yield None
        return
    allowed = os.sched_getaffinity(0)
    if len(allowed) < count:
        raise ValueError(
            f"expected at least {count} processors for --threads {count}, got {len(allowed)}; "
            "use fewer threads"
        )
    chosen = sorted(allowed)[:count]
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, allowed)


def describe() -> dict[str, Any]:
    """Versions, device, processor and date, which are part of all results."""
    versions = {"python": platform.python_version()}
    for package in ("jax", "jaxlib", "flax", "optax", "diffrax", "torch", "torchdiffeq", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {
        "versions": versions,
        "device": f"{jax.device_count()} x {device.device_kind}",
        "cpu": cpu_model(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def cpu_model() -> str:
    """The name of the processor: from Linux where possible, otherwise from Python."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
