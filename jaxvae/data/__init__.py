"""Data: named sets in memory, a user's own arrays, and streams of what is larger than memory."""

from jaxvae.data.array_records import ArrayRecords as ArrayRecords
from jaxvae.data.binarise import binarise as binarise
from jaxvae.data.blocks import Blocks as Blocks
from jaxvae.data.blocks import blocks as blocks
from jaxvae.data.dataset import Dataset as Dataset
from jaxvae.data.dataset import Split as Split
from jaxvae.data.idx import read_idx as read_idx
from jaxvae.data.load import load as load
from jaxvae.data.rows import Rows as Rows
from jaxvae.data.stream import Stream as Stream
from jaxvae.data.stream import steps_per_epoch as steps_per_epoch
from jaxvae.data.stream import stream as stream
from jaxvae.data.write_records import write_array_records as write_array_records
