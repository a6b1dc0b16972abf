"""Factories: each fills in a LatentVariableModel."""

from jaxvae.models.flow_posteriors import coupling as coupling
from jaxvae.models.flow_posteriors import inverse_autoregressive as inverse_autoregressive
from jaxvae.models.flow_posteriors import planar as planar
from jaxvae.models.flow_posteriors import radial as radial
from jaxvae.models.posteriors import Inference as Inference
from jaxvae.models.posteriors import PosteriorFamily as PosteriorFamily
from jaxvae.models.posteriors import diagonal as diagonal
from jaxvae.models.posteriors import full_covariance as full_covariance
from jaxvae.models.posteriors import low_rank as low_rank
from jaxvae.models.vae import unit_normal as unit_normal
from jaxvae.models.vae import vae as vae
