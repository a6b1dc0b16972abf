"""Time series: irregular, partly observed, exact or measured."""

from jaxvae.data.series.linear_odes import Stops as Stops
from jaxvae.data.series.linear_odes import circular as circular
from jaxvae.data.series.linear_odes import circular_field as circular_field
from jaxvae.data.series.linear_odes import linear_spiral as linear_spiral
from jaxvae.data.series.periodic import Periodic as Periodic
from jaxvae.data.series.periodic import periodic as periodic
from jaxvae.data.series.physionet import IcuRecords as IcuRecords
from jaxvae.data.series.physionet import PhysioNet2012 as PhysioNet2012
from jaxvae.data.series.physionet import physionet2012 as physionet2012
from jaxvae.data.series.physionet_archive import PHYSIONET_UNITS as PHYSIONET_UNITS
from jaxvae.data.series.spirals import SpiralCurves as SpiralCurves
from jaxvae.data.series.spirals import Spirals as Spirals
from jaxvae.data.series.spirals import clean_backward as clean_backward
from jaxvae.data.series.spirals import clean_forward as clean_forward
from jaxvae.data.series.spirals import spiral_curves as spiral_curves
from jaxvae.data.series.spirals import spirals as spirals
from jaxvae.data.series.starts import Starts as Starts
from jaxvae.data.series.starts import starts_between as starts_between
from jaxvae.data.series.starts import starts_beyond as starts_beyond
