"""Measures of a trained model."""

from jaxvae.metrics.evaluation import Evaluation as Evaluation
from jaxvae.metrics.evaluation import evaluate as evaluate
from jaxvae.metrics.gradients import GradientReport as GradientReport
from jaxvae.metrics.gradients import gradient_report as gradient_report
from jaxvae.metrics.latents import active_units as active_units
from jaxvae.metrics.latents import kl_per_dimension as kl_per_dimension
from jaxvae.metrics.latents import posterior_means as posterior_means
from jaxvae.metrics.likelihood import ImportanceEstimate as ImportanceEstimate
from jaxvae.metrics.likelihood import importance_log_likelihood as importance_log_likelihood
from jaxvae.metrics.mutual_information import Information as Information
from jaxvae.metrics.mutual_information import mutual_information as mutual_information
