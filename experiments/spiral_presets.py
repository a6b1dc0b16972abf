"""Sizes and training of the models that forecast spirals: those of the paper, and better ones."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Setting:
    """Sizes of the networks, and how they are trained."""

    start: Literal["first", "anywhere"]
    cell: Literal["rnn", "gru"]
    units: int
    dynamics: tuple[int, ...]
    decoder: tuple[int, ...]
    latent_dim: int
    consistency: float
    scale: float
    steps: int
    batch_size: int
    learning_rate: float
    decay: bool


PRESETS = {
    "paper": Setting("first", "rnn", 25, (20,), (20,), 4, 0.0, 1.0, 2000, 1000, 1e-2, False),
    "best": Setting("anywhere", "gru", 25, (100,), (50,), 4, 0.3, 4.0, 8000, 100, 5e-3, True),
}
