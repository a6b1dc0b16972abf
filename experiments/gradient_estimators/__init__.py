"""Estimators of a bound's gradient, with closed forms and in training."""

from experiments.gradient_estimators.experiment import Config as Config
from experiments.gradient_estimators.experiment import Estimation as Estimation
from experiments.gradient_estimators.experiment import Model as Model
from experiments.gradient_estimators.experiment import Training as Training
from experiments.gradient_estimators.experiment import main as main
from experiments.gradient_estimators.gaussian import Gaussian as Gaussian
