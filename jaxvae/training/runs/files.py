"""Files of a run: JSON of finite numbers, each written in one piece."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FAILURE_FOLDER = "failure"
"""Where in a run's folder a failed step is kept."""


def summarise(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each vector over members by its mean and, as KEY_sd, its standard deviation.

    Raises:
        ValueError: if a number is not finite.
    """
    flat: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, str):
            flat[name] = value
            continue
        array = np.asarray(value)
        flat[name] = array.mean().item() if array.ndim else array.item()
        if array.ndim and array.size > 1:
            flat[f"{name}_sd"] = array.std(ddof=1).item()
    for name, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"expected a finite metric, got {name} = {value}")
    return flat


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file in one piece."""
    write_text(path, to_json(values))


def to_json(values: Mapping[str, Any]) -> str:
    """The text of a JSON file.

    Raises:
        ValueError: if a number is not finite.
    """
    try:
        return json.dumps(values, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"JSON holds finite numbers only, got {dict(values)}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file in one piece: whoever reads it finds the old or the new text, never a part."""
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.write_text(text)
    temporary.replace(path)
