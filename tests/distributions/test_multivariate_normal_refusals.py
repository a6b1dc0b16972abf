import jax.numpy as jnp
import pytest

from jaxvae.distributions import MultivariateNormal

pytestmark = pytest.mark.usefixtures("without_type_checks")


@pytest.mark.parametrize("shapes", [((3,), (3,), (6,)), ((3,), (2,), (3,)), ((), (), (0,))])
def test_parameters_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match=r"expected loc \(d,\), .*row by row"):
        MultivariateNormal(*[jnp.zeros(shape) for shape in shapes])


@pytest.mark.parametrize("make", ["from_cholesky", "from_covariance"])
def test_a_matrix_that_does_not_fit_is_refused(make):
    with pytest.raises(ValueError, match=rf"{make} expected .*\(2,\) and \(3, 3\).*vmap"):
        getattr(MultivariateNormal, make)(jnp.zeros(2), jnp.eye(3))


def test_an_event_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"log_prob expected .*\(3,\), got \(1, 3\).*vmap"):
        MultivariateNormal(*[jnp.zeros(3)] * 3).log_prob(jnp.zeros((1, 3)))
