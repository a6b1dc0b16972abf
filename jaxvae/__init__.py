"""Variational autoencoders and latent dynamical models in JAX."""

from jaxvae import data as data
from jaxvae import distributions as distributions
from jaxvae import metrics as metrics
from jaxvae import models as models
from jaxvae import nn as nn
from jaxvae import objectives as objectives
from jaxvae import ode as ode
from jaxvae import plotting as plotting
from jaxvae import recipe as recipe
from jaxvae import series as series
from jaxvae import training as training
from jaxvae.model import Estimate as Estimate
from jaxvae.model import Example as Example
from jaxvae.model import LatentVariableModel as LatentVariableModel
from jaxvae.model import Params as Params
from jaxvae.model import log_weight as log_weight
from jaxvae.model import map_examples as map_examples
from jaxvae.series import Grid as Grid
from jaxvae.series import TimeSeries as TimeSeries
from jaxvae.training import Trained as Trained
from jaxvae.training import fit as fit
from jaxvae.training import load as load
