"""Maximum likelihood, gradient descent and overfitting."""

from experiments.maximum_likelihood.ascent import Sampling as Sampling
from experiments.maximum_likelihood.experiment import Config as Config
from experiments.maximum_likelihood.experiment import Training as Training
from experiments.maximum_likelihood.experiment import main as main
from experiments.maximum_likelihood.polynomials import Regression as Regression
