"""Normalising flows: one-to-one maps of vectors with their log-determinants."""

from jaxvae.distributions.flows.base import Chain as Chain
from jaxvae.distributions.flows.base import Flow as Flow
from jaxvae.distributions.flows.permutation import Permutation as Permutation
from jaxvae.distributions.flows.permutation import Reversal as Reversal
from jaxvae.distributions.flows.planar import Planar as Planar
from jaxvae.distributions.flows.radial import Radial as Radial
