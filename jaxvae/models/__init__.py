"""Factories: each fills in a LatentVariableModel."""

from jaxvae.models.vae import unit_normal as unit_normal
from jaxvae.models.vae import vae as vae
