"""Distributions of one event, and the divergences between them."""

from jaxvae.distributions.base import Distribution as Distribution
from jaxvae.distributions.bernoulli import Bernoulli as Bernoulli
from jaxvae.distributions.categorical import Categorical as Categorical
from jaxvae.distributions.delta import Delta as Delta
from jaxvae.distributions.divergence import has_closed_form as has_closed_form
from jaxvae.distributions.divergence import kl_by_factor as kl_by_factor
from jaxvae.distributions.divergence import kl_divergence as kl_divergence
from jaxvae.distributions.divergence import kl_monte_carlo as kl_monte_carlo
from jaxvae.distributions.normal import Normal as Normal
