"""Networks: the only folder that knows Flax."""

from jaxvae.nn.activations import tanh as tanh
from jaxvae.nn.autoregressive import InverseAutoregressive as InverseAutoregressive
from jaxvae.nn.conv import conv_decoder as conv_decoder
from jaxvae.nn.conv import conv_encoder as conv_encoder
from jaxvae.nn.convolution import convolve as convolve
from jaxvae.nn.convolution import convolve_transposed as convolve_transposed
from jaxvae.nn.coupling import Coupling as Coupling
from jaxvae.nn.coupling import coupling_mlp as coupling_mlp
from jaxvae.nn.masked import masked_mlp as masked_mlp
from jaxvae.nn.mlp import mlp as mlp
from jaxvae.nn.network import Network as Network
from jaxvae.nn.network import from_module as from_module
from jaxvae.nn.precision import with_precision as with_precision
