"""Training: state, step and the compiled loop."""

from jaxvae.training.chunk import Loss as Loss
from jaxvae.training.chunk import Prepare as Prepare
from jaxvae.training.chunk import autoencode as autoencode
from jaxvae.training.fit import Callback as Callback
from jaxvae.training.fit import Fit as Fit
from jaxvae.training.fit import fit as fit
from jaxvae.training.fit import one_by_one as one_by_one
from jaxvae.training.fit import vectorised as vectorised
from jaxvae.training.state import TrainState as TrainState
