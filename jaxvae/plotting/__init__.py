"""Pictures: functions that return a matplotlib Figure and show or save nothing."""

from jaxvae.plotting.curves import elbo_curve as elbo_curve
from jaxvae.plotting.images import image_grid as image_grid
from jaxvae.plotting.images import reconstructions as reconstructions
from jaxvae.plotting.images import traversals as traversals
from jaxvae.plotting.latent import latent_grid as latent_grid
from jaxvae.plotting.latent import latent_paths as latent_paths
from jaxvae.plotting.latent import latent_scatter as latent_scatter
from jaxvae.plotting.latent import manifold as manifold
