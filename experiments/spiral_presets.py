"""Sizes and training of the models that forecast spirals: those of the paper, and better ones."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Setting:
    """Sizes of the networks, how they are trained, and how the latent ODE forecasts.

    Attributes:
        start: of the latent ODE: at the first point of a window, or anywhere in it.
        cell: of the recurrent networks and the encoder.
        units: likewise.
        dynamics: hidden units of the flow.
        decoder: hidden units of the decoder.
        latent_dim: size of the latent state.
        sleep: weight of the log-density of the state of a series that the model has drawn.
        samples: of the posterior in a forecast, weighted; 0 takes the mean of q.
        scale: what values are divided by.
        steps: of the optimiser.
        batch_size: series in a step.
        learning_rate: of Adam, at its highest.
        decay: whether it falls to 0 along a cosine.
    """

    start: Literal["first", "anywhere"]
    cell: Literal["rnn", "gru"]
    units: int
    dynamics: tuple[int, ...]
    decoder: tuple[int, ...]
    latent_dim: int
    sleep: float
    samples: int
    scale: float
    steps: int
    batch_size: int
    learning_rate: float
    decay: bool


PRESETS = {
    "paper": Setting("first", "rnn", 25, (20,), (20,), 4, 0.0, 0, 1.0, 2000, 1000, 1e-2, False),
    "best": Setting("anywhere", "gru", 25, (100,), (), 3, 1.0, 512, 4.0, 8000, 100, 1.5e-2, True),
}
