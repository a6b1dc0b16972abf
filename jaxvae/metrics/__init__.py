"""Measures of a trained model."""

from jaxvae.metrics.annealing.bridge import linear_schedule as linear_schedule
from jaxvae.metrics.annealing.bridge import sigmoidal_schedule as sigmoidal_schedule
from jaxvae.metrics.annealing.bridge import start_from_posterior as start_from_posterior
from jaxvae.metrics.annealing.bridge import start_from_prior as start_from_prior
from jaxvae.metrics.annealing.likelihood import AnnealedEstimate as AnnealedEstimate
from jaxvae.metrics.annealing.likelihood import LikelihoodBracket as LikelihoodBracket
from jaxvae.metrics.annealing.likelihood import annealed_log_likelihood as annealed_log_likelihood
from jaxvae.metrics.annealing.likelihood import bracket_log_likelihood as bracket_log_likelihood
from jaxvae.metrics.evaluation import Evaluation as Evaluation
from jaxvae.metrics.evaluation import evaluate as evaluate
from jaxvae.metrics.gradients import GradientReport as GradientReport
from jaxvae.metrics.gradients import gradient_report as gradient_report
from jaxvae.metrics.laplace_evidence import laplace_log_evidence as laplace_log_evidence
from jaxvae.metrics.latents import active_units as active_units
from jaxvae.metrics.latents import kl_per_dimension as kl_per_dimension
from jaxvae.metrics.latents import posterior_means as posterior_means
from jaxvae.metrics.likelihood import ImportanceEstimate as ImportanceEstimate
from jaxvae.metrics.likelihood import importance_log_likelihood as importance_log_likelihood
from jaxvae.metrics.mutual_information import Information as Information
from jaxvae.metrics.mutual_information import mutual_information as mutual_information
from jaxvae.metrics.predictive import Predictive as Predictive
from jaxvae.metrics.predictive import posterior_predictive as posterior_predictive
