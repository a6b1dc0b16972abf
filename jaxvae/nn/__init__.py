"""Networks: the only folder that knows Flax."""

from jaxvae.nn.activations import tanh as tanh
from jaxvae.nn.autoregressive import InverseAutoregressive as InverseAutoregressive
from jaxvae.nn.cells import gru_cell as gru_cell
from jaxvae.nn.cells import rnn_cell as rnn_cell
from jaxvae.nn.conv import conv_decoder as conv_decoder
from jaxvae.nn.conv import conv_encoder as conv_encoder
from jaxvae.nn.convolution import convolve as convolve
from jaxvae.nn.convolution import convolve_transposed as convolve_transposed
from jaxvae.nn.coupling import Coupling as Coupling
from jaxvae.nn.coupling import coupling_mlp as coupling_mlp
from jaxvae.nn.gru_decay import gru_decay as gru_decay
from jaxvae.nn.masked import masked_mlp as masked_mlp
from jaxvae.nn.mlp import mlp as mlp
from jaxvae.nn.network import Network as Network
from jaxvae.nn.network import from_module as from_module
from jaxvae.nn.ode_rnn import ode_rnn as ode_rnn
from jaxvae.nn.precision import with_precision as with_precision
from jaxvae.nn.recurrence import Recurrence as Recurrence
from jaxvae.nn.recurrence import recurrent_encoder as recurrent_encoder
from jaxvae.nn.recurrent import anticipating as anticipating
from jaxvae.nn.recurrent import recurrent as recurrent
from jaxvae.nn.vector_fields import affine as affine
from jaxvae.nn.vector_fields import augment as augment
from jaxvae.nn.vector_fields import autonomous as autonomous
from jaxvae.nn.vector_fields import bounded as bounded
from jaxvae.nn.vector_fields import time_dependent as time_dependent
