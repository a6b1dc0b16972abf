"""What the tests of distributions have in common."""

import jax
import pytest

from jaxvae import distributions
from jaxvae.distributions import flows

METHODS = (
    "cdf",
    "entropy",
    "entropy_by_factor",
    "forward",
    "inverse",
    "log_prob",
    "log_prob_by_factor",
    "sample",
    "sample_and_log_prob",
    "transform",
    "transform_and_log_prob",
)
# What is said of tuples depends on their being tuples; the rest are no pytrees.
UNTOUCHED = {
    distributions.Product,
    distributions.Distribution,
    distributions.Reparameterisable,
    distributions.Noise,
    distributions.StandardNormal,
    distributions.StandardUniform,
    flows.Flow,
}
PROPERTIES = ("covariance", "mean", "mode", "variance")


@pytest.fixture(scope="module", autouse=True)
def compiled_methods():
    """Methods of distributions are one program each, which tests call without ``jax.jit``.

    Operation by operation they would be dozens, each of which takes longer to compile than all
    take to run.
    """
    with pytest.MonkeyPatch.context() as patch:
        for family in [*vars(distributions).values(), *vars(flows).values()]:
            if not isinstance(family, type) or family in UNTOUCHED:
                continue
            for name in METHODS:
                if hasattr(family, name):
                    patch.setattr(family, name, _method(jax.jit(getattr(family, name))))
            for name in PROPERTIES:
                if isinstance(getattr(family, name, None), property):
                    patch.setattr(family, name, property(jax.jit(getattr(family, name).fget)))
        yield


def _method(compiled):
    return lambda self, *arguments: compiled(self, *arguments)
