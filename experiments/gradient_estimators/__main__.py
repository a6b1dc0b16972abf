"""The command ``python -m experiments.gradient_estimators``."""

from experiments.gradient_estimators import Config, main
from jaxvae import training

if __name__ == "__main__":
    training.command_line(main, Config)
