"""Distributions of one event, and the divergences between them."""

from jaxvae.distributions.base import Distribution as Distribution
from jaxvae.distributions.base import Reparameterisable as Reparameterisable
from jaxvae.distributions.combinators.delta import Delta as Delta
from jaxvae.distributions.discrete.bernoulli import Bernoulli as Bernoulli
from jaxvae.distributions.discrete.categorical import Categorical as Categorical
from jaxvae.distributions.divergence.kl import has_closed_form as has_closed_form
from jaxvae.distributions.divergence.kl import kl_by_factor as kl_by_factor
from jaxvae.distributions.divergence.kl import kl_divergence as kl_divergence
from jaxvae.distributions.divergence.kl import kl_monte_carlo as kl_monte_carlo
from jaxvae.distributions.inversion.exponential import Exponential as Exponential
from jaxvae.distributions.location_scale.normal import Normal as Normal
