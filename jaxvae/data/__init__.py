"""Data sets in memory: named ones, those of tensorflow-datasets, and a user's own arrays."""

from jaxvae.data.binarise import binarise as binarise
from jaxvae.data.dataset import Dataset as Dataset
from jaxvae.data.dataset import Split as Split
from jaxvae.data.idx import read_idx as read_idx
from jaxvae.data.load import load as load
