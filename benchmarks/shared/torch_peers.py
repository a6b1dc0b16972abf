"""The same models in PyTorch, trained as fast as plain PyTorch code can.

The data is one tensor in memory, indexed by a permutation: a DataLoader would cost more than the
training step.
"""

import time
from collections.abc import Callable

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]


class VaeLoss(nn.Module):
    r"""Rows to minus their mean bound: cross-entropy from logits plus the analytic KL.

    $\frac1B\sum_b \big(-\log p(x_b \mid z_b) + \frac12\sum_i \mu_i^2 + \sigma_i^2 - 1 -
    2\log\sigma_i\big)$, the same numbers as ``jaxvae.objectives.elbo`` with the other sign.
    """

    def __init__(self, pixels: int, hidden: int, latent_dim: int):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, pixels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The loss of a batch."""
        mean, log_scale = self.encoder(x).chunk(2, dim=1)
        scale = log_scale.exp()
        z = mean + scale * torch.randn_like(mean)
        cross_entropy = functional.binary_cross_entropy_with_logits(
            self.decoder(z), x, reduction="sum"
        )
        kl = 0.5 * (mean.square() + scale.square() - 1.0 - 2.0 * log_scale).sum()
        return (cross_entropy + kl) / len(x)


class LatentOdeLoss(nn.Module):
    r"""Rows (series, time x channel) to minus their mean bound, in nats.

    The same numbers as ``jaxvae.objectives.elbo`` with the other sign: one draw of z, the analytic
    KL and the Normal's whole log-density. The encoder is PyTorch's own recurrence over the whole
    series in one call, which is faster than a loop over its cells in Python.

    Args:
        times: common to all series.
        channels: of a series.
        noise: standard deviation of the likelihood.
        rtol: relative tolerance of ``dopri5``.
        atol: its absolute tolerance.
        latent_dim: size of z.
        encoder_hidden: size of the recurrence's state.
        hidden: width of the hidden layers of field (two) and decoder (one).
    """

    def __init__(
        self,
        times: torch.Tensor,
        *,
        channels: int,
        noise: float,
        rtol: float,
        atol: float,
        latent_dim: int,
        encoder_hidden: int,
        hidden: int,
    ):
        from torchdiffeq import odeint  # pyright: ignore[reportMissingImports]

        super().__init__()
        self.odeint = odeint
        # As in our model, the inputs include a mask of the observed values.
        self.recurrence = nn.RNN(2 * channels, encoder_hidden, batch_first=True)
        self.head = nn.Linear(encoder_hidden, 2 * latent_dim)
        self.dynamics = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.ELU(),
            nn.Linear(hidden, hidden),
            nn.ELU(),
            nn.Linear(hidden, latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.register_buffer("times", times)
        self.noise, self.channels, self.tolerance = noise, channels, (rtol, atol)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The loss of a batch."""
        values = rows.view(len(rows), -1, self.channels)
        seen = torch.cat([values, torch.ones_like(values)], dim=2).flip(1)
        _, last = self.recurrence(seen)
        mean, log_scale = self.head(last[0]).chunk(2, dim=1)
        scale = log_scale.exp()
        z0 = mean + scale * torch.randn_like(mean)
        rtol, atol = self.tolerance
        path = self.odeint(
            lambda t, z: self.dynamics(z), z0, self.times, rtol=rtol, atol=atol, method="dopri5"
        )
        distribution = torch.distributions.Normal(
            self.decoder(path), self.noise, validate_args=False
        )
        log_likelihood = distribution.log_prob(values.transpose(0, 1)).sum()
        kl = 0.5 * (mean.square() + scale.square() - 1.0 - 2.0 * log_scale).sum()
        return (kl - log_likelihood) / len(rows)


class TorchTraining:
    """Training with Adam, one chunk of steps at a time.

    ``jaxvae.fit`` also sums the bound and its parts and looks for the first step that is not
    finite; this class does neither.

    Args:
        data: rows of images, shared and not copied.
        loss: module from rows to a loss.
        compiled: whether ``torch.compile`` compiles the loss and its gradient.
        fused: whether Adam runs as one kernel; otherwise it is PyTorch's default for a CPU.
        batch_size: rows per step.
        steps: steps in a chunk.
        learning_rate: of Adam.
    """

    def __init__(
        self,
        data: np.ndarray,
        loss: nn.Module,
        *,
        compiled: bool,
        fused: bool,
        batch_size: int,
        steps: int,
        learning_rate: float,
    ):
        self._data = torch.from_numpy(data).flatten(1)
        self._loss: Callable[[torch.Tensor], torch.Tensor] = (
            torch.compile(loss) if compiled else loss
        )
        # The default, None, chooses a kernel that is not fused; False would not choose.
        self._optimiser = torch.optim.Adam(
            loss.parameters(), lr=learning_rate, fused=True if fused else None
        )
        self._batch_size, self._steps, self._step = batch_size, steps, 0
        self.last_loss = torch.zeros(())
        started = time.perf_counter()
        self._take(1)
        self.compile_seconds = time.perf_counter() - started if compiled else 0.0
        self._step = 0
        self()

    def __call__(self) -> float:
        """Seconds for a chunk."""
        started = time.perf_counter()
        self._take(self._steps)
        return time.perf_counter() - started

    def _take(self, steps: int) -> None:
        batches = len(self._data) // self._batch_size
        loss = self.last_loss
        for _ in range(steps):
            batch = self._step % batches
            if batch == 0:
                self._order = torch.randperm(len(self._data))
            index = self._order[batch * self._batch_size : (batch + 1) * self._batch_size]
            loss = self._loss(self._data[index])
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            self._step += 1
        self.last_loss = loss.detach()
