"""The command ``python -m experiments.latent_ode``."""

from experiments.latent_ode import Config, main
from jaxvae import training

if __name__ == "__main__":
    training.command_line(main, Config)
