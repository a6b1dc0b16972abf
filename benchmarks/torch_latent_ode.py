"""The latent ODE on spirals in PyTorch, solved by torchdiffeq and differentiated step by step."""

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torchdiffeq import odeint  # pyright: ignore[reportMissingImports]


class NegativeElbo(nn.Module):
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
        super().__init__()
        # Like ours, it is told which values are there.
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
        path = odeint(
            lambda t, z: self.dynamics(z), z0, self.times, rtol=rtol, atol=atol, method="dopri5"
        )
        law = torch.distributions.Normal(self.decoder(path), self.noise, validate_args=False)
        log_likelihood = law.log_prob(values.transpose(0, 1)).sum()
        kl = 0.5 * (mean.square() + scale.square() - 1.0 - 2.0 * log_scale).sum()
        return (kl - log_likelihood) / len(rows)
