"""Bounds and their estimators: pure functions of a model, maximised."""

from jaxvae.objectives import schedules as schedules
from jaxvae.objectives.elbo import ElboSettings as ElboSettings
from jaxvae.objectives.elbo import elbo as elbo
from jaxvae.objectives.kl import KLEstimator as KLEstimator
from jaxvae.objectives.kl import analytic as analytic
from jaxvae.objectives.kl import analytic_entropy as analytic_entropy
from jaxvae.objectives.kl import analytic_where_available as analytic_where_available
from jaxvae.objectives.kl import monte_carlo as monte_carlo
