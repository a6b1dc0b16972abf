"""Bi-directional spirals forecast by a latent ODE and by recurrent networks."""

from experiments.latent_ode.experiment import Config as Config
from experiments.latent_ode.experiment import Problem as Problem
from experiments.latent_ode.experiment import Training as Training
from experiments.latent_ode.experiment import main as main
