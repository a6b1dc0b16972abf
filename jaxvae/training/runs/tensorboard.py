"""The log records of a run as TensorBoard events."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.training.loop import Callback
from jaxvae.training.state import TrainState


@contextmanager
def tensorboard(folder: str | Path) -> Iterator[Callback]:
    """A callback for ``fit`` that writes event files.

    Each value of a log record becomes a scalar, and with several members one scalar for each:
    ``NAME/member_0`` and so on.

    Args:
        folder: where to write; ``tensorboard --logdir`` reads it.

    Raises:
        ValueError: if tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "tensorboard expected tensorboardX, which is not installed: pip install "
            '"jaxvae[tensorboard]"'
        ) from error

    def write(state: TrainState, record: dict[str, Any], /) -> None:
        del state
        for name, value in record.items():
            values = np.asarray(value, np.float64)
            for index, entry in np.ndenumerate(values):
                tag = f"{name}/member_{index[0]}" if index else name
                writer.add_scalar(tag, float(entry), record["step"])

    with SummaryWriter(str(folder)) as writer:
        yield write
