"""The figures that every training run reports, and how they are printed."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxvae.training.fit import Fit
from jaxvae.training.saved import parameters_sha256


def training_metrics(result: Fit, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Steps, times, rate, versions and the digest of the parameters.

    Args:
        result: of ``fit``; its compilation is that of the last part of a resumed run.
        history: all lines of the run, ``Run.history()``: compiled training of every part counts.
            Steps that a killed run took after its last line are counted at the mean rate.
    """
    steps = sum(line["chunk_steps"] for line in history)
    seconds = sum(line["chunk_steps"] / line["steps_per_second"] for line in history)
    rate = steps / seconds
    device = jax.devices()[0]
    return {
        "steps": int(result.state.step),
        "train_seconds": int(result.state.step) / rate,
        "compile_seconds": result.compile_seconds,
        "steps_per_second": rate,
        "device": f"{jax.device_count()} x {device.device_kind}",
        "jax_version": jax.__version__,
        "parameters_sha256": parameters_sha256(result.params),
    }


def format_memory(sizes: Mapping[str, int]) -> str:
    """The memory of a compiled chunk (``Fit.memory_bytes``) in MiB."""
    shown = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in sizes.items())
    return f"memory of the compiled chunk in MiB: {shown}"


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """A table of names and values, with the spread beside the mean where there is one."""
    rows = []
    for name, value in metrics.items():
        if name.endswith("_sd") and name.removesuffix("_sd") in metrics:
            continue
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        spread = metrics.get(f"{name}_sd")
        rows.append((name, text if spread is None else f"{text} ± {spread:.2g}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)
