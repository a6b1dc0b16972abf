"""Distributions of one event, and the divergences between them."""

from jaxvae.distributions import flows as flows
from jaxvae.distributions import sampling as sampling
from jaxvae.distributions.base import Distribution as Distribution
from jaxvae.distributions.base import Reparameterisable as Reparameterisable
from jaxvae.distributions.batching import Batch as Batch
from jaxvae.distributions.batching import batch_axes as batch_axes
from jaxvae.distributions.batching import batched as batched
from jaxvae.distributions.batching import take as take
from jaxvae.distributions.combinators.delta import Delta as Delta
from jaxvae.distributions.combinators.masked import Masked as Masked
from jaxvae.distributions.combinators.mixture import Joint as Joint
from jaxvae.distributions.combinators.mixture import Mixture as Mixture
from jaxvae.distributions.combinators.product import Product as Product
from jaxvae.distributions.combinators.timed import Timed as Timed
from jaxvae.distributions.combinators.transformed import Transformed as Transformed
from jaxvae.distributions.combinators.transformed import representative as representative
from jaxvae.distributions.composition.beta import Beta as Beta
from jaxvae.distributions.composition.chi_squared import ChiSquared as ChiSquared
from jaxvae.distributions.composition.dirichlet import Dirichlet as Dirichlet
from jaxvae.distributions.composition.f import F as F
from jaxvae.distributions.composition.gamma import Gamma as Gamma
from jaxvae.distributions.composition.log_normal import LogNormal as LogNormal
from jaxvae.distributions.discrete.bernoulli import Bernoulli as Bernoulli
from jaxvae.distributions.discrete.categorical import Categorical as Categorical
from jaxvae.distributions.discrete.negative_binomial import NegativeBinomial as NegativeBinomial
from jaxvae.distributions.discrete.poisson import Poisson as Poisson
from jaxvae.distributions.discrete.relaxed_bernoulli import RelaxedBernoulli as RelaxedBernoulli
from jaxvae.distributions.discrete.relaxed_categorical import (
    RelaxedCategorical as RelaxedCategorical,
)
from jaxvae.distributions.discrete.zero_inflated import ZeroInflated as ZeroInflated
from jaxvae.distributions.divergence.kl import has_closed_form as has_closed_form
from jaxvae.distributions.divergence.kl import kl_by_factor as kl_by_factor
from jaxvae.distributions.divergence.kl import kl_divergence as kl_divergence
from jaxvae.distributions.divergence.kl import kl_monte_carlo as kl_monte_carlo
from jaxvae.distributions.inversion.cauchy import Cauchy as Cauchy
from jaxvae.distributions.inversion.erlang import Erlang as Erlang
from jaxvae.distributions.inversion.exponential import Exponential as Exponential
from jaxvae.distributions.inversion.gompertz import Gompertz as Gompertz
from jaxvae.distributions.inversion.gumbel import Gumbel as Gumbel
from jaxvae.distributions.inversion.logistic import Logistic as Logistic
from jaxvae.distributions.inversion.pareto import Pareto as Pareto
from jaxvae.distributions.inversion.rayleigh import Rayleigh as Rayleigh
from jaxvae.distributions.inversion.reciprocal import Reciprocal as Reciprocal
from jaxvae.distributions.inversion.weibull import Weibull as Weibull
from jaxvae.distributions.location_scale.laplace import Laplace as Laplace
from jaxvae.distributions.location_scale.low_rank_normal import LowRankNormal as LowRankNormal
from jaxvae.distributions.location_scale.multivariate_normal import (
    MultivariateNormal as MultivariateNormal,
)
from jaxvae.distributions.location_scale.multivariate_student_t import (
    MultivariateStudentT as MultivariateStudentT,
)
from jaxvae.distributions.location_scale.normal import Normal as Normal
from jaxvae.distributions.location_scale.student_t import StudentT as StudentT
from jaxvae.distributions.location_scale.triangular import Triangular as Triangular
from jaxvae.distributions.location_scale.truncated_normal import TruncatedNormal as TruncatedNormal
from jaxvae.distributions.location_scale.uniform import Uniform as Uniform
from jaxvae.distributions.noise import Noise as Noise
from jaxvae.distributions.noise import StandardNormal as StandardNormal
from jaxvae.distributions.noise import StandardUniform as StandardUniform
from jaxvae.distributions.support import moving_support as moving_support
