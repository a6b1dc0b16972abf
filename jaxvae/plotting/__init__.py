"""Pictures: functions that return a matplotlib Figure and show or save nothing."""

from jaxvae.plotting.benchmarks import memory_against_steps as memory_against_steps
from jaxvae.plotting.benchmarks import work_precision as work_precision
from jaxvae.plotting.curves import elbo_curve as elbo_curve
from jaxvae.plotting.curves import score_comparison as score_comparison
from jaxvae.plotting.estimation import SampledDistribution as SampledDistribution
from jaxvae.plotting.estimation import density_fits as density_fits
from jaxvae.plotting.estimation import descent_paths as descent_paths
from jaxvae.plotting.estimation import objective_curve as objective_curve
from jaxvae.plotting.estimation import sampled_distributions as sampled_distributions
from jaxvae.plotting.forecasts import forecasts as forecasts
from jaxvae.plotting.forecasts import interpolations as interpolations
from jaxvae.plotting.images import image_grid as image_grid
from jaxvae.plotting.images import reconstructions as reconstructions
from jaxvae.plotting.images import traversals as traversals
from jaxvae.plotting.latent import latent_grid as latent_grid
from jaxvae.plotting.latent import latent_paths as latent_paths
from jaxvae.plotting.latent import latent_scatter as latent_scatter
from jaxvae.plotting.latent import manifold as manifold
from jaxvae.plotting.regression import error_curves as error_curves
from jaxvae.plotting.regression import fitted_curves as fitted_curves
from jaxvae.plotting.trajectories import dot_panels as dot_panels
from jaxvae.plotting.trajectories import trajectory_fit as trajectory_fit
