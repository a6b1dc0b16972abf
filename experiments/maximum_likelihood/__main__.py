"""The command ``python -m experiments.maximum_likelihood``."""

from experiments.maximum_likelihood import Config, main
from jaxvae import training

if __name__ == "__main__":
    training.command_line(main, Config)
