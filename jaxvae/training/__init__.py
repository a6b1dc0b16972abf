"""Training: state, step, the compiled loop, and the folder of a run."""

from jaxvae.training.checkpoint import Checkpoints as Checkpoints
from jaxvae.training.chunk import Loss as Loss
from jaxvae.training.chunk import Prepare as Prepare
from jaxvae.training.command_line import command_line as command_line
from jaxvae.training.fit import Callback as Callback
from jaxvae.training.fit import Fit as Fit
from jaxvae.training.fit import fit as fit
from jaxvae.training.fit import steps_per_epoch as steps_per_epoch
from jaxvae.training.members import initial_state as initial_state
from jaxvae.training.members import one_by_one as one_by_one
from jaxvae.training.members import vectorised as vectorised
from jaxvae.training.prepare import autoencode as autoencode
from jaxvae.training.prepare import binarise_dynamically as binarise_dynamically
from jaxvae.training.report import format_metrics as format_metrics
from jaxvae.training.report import training_metrics as training_metrics
from jaxvae.training.run import Run as Run
from jaxvae.training.run import open_run as open_run
from jaxvae.training.saved import load as load
from jaxvae.training.saved import parameters_sha256 as parameters_sha256
from jaxvae.training.state import TrainState as TrainState
from jaxvae.training.trained import Trained as Trained
from jaxvae.training.trained import members_of as members_of
