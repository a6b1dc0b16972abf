"""The figures that every training run reports, and how they are printed."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxvae.training.fit import Fit
from jaxvae.training.saved import parameters_sha256


def training_metrics(result: Fit) -> dict[str, Any]:
    """Steps, times, rate, versions and the digest of the parameters.

    ``steps_per_second`` counts compiled training alone, of all members together.
    """
    steps = sum(line["chunk_steps"] for line in result.history)
    device = jax.devices()[0]
    return {
        "steps": int(result.state.step),
        "train_seconds": result.train_seconds,
        "compile_seconds": result.compile_seconds,
        "steps_per_second": steps / result.train_seconds if steps else 0.0,
        "device": f"{jax.device_count()} x {device.device_kind}",
        "jax_version": jax.__version__,
        "parameters_sha256": parameters_sha256(result.params),
    }


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
