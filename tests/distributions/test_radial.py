import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from flow_checks import check_log_det, check_round_trip, in_float64, total_mass
from oracles import TOLERANCES, assert_near

from jaxvae.distributions import Normal, Transformed
from jaxvae.distributions.flows import Radial

DRAW = np.random.default_rng(1).normal(size=(2, 10, 5))
# log alpha and raw strength: from the identity to all but a collapse and to a blast.
SETTINGS = [(0.0, 0.0), (0.0, 1.0), (0.0, -1.0), (3.0, -12.0), (-3.0, -12.0), (1.0, 30.0)]
SETTINGS += [(-8.0, 4.0), (8.0, -6.0), (0.5, -20.0), (0.0, 1e-4)]


def flow_number(i, dtype=jnp.float32):
    return Radial(
        jnp.asarray(np.float32(DRAW[0, i]), dtype), *(jnp.asarray(a, dtype) for a in SETTINGS[i])
    )


def exact_forward(flow, x):
    """Equation 14 as it is written, in mpmath."""
    centre, x = (mpmath.matrix([float(a) for a in v]) for v in (flow.centre, x))
    alpha = mpmath.exp(mpmath.mpf(float(flow.log_radius)))
    raw = mpmath.mpf(float(flow.raw_strength))
    beta = alpha * (-1 + mpmath.log(1 + (mpmath.e - 1) * mpmath.exp(raw)))
    r = mpmath.norm(x - centre)
    h = 1 / (alpha + r)
    log_det = (len(x) - 1) * mpmath.log(1 + beta * h) + mpmath.log(1 + beta * h - beta * h**2 * r)
    return x + beta * h * (x - centre), log_det


@pytest.mark.parametrize("number", range(10))
def test_image_and_log_determinant_are_those_of_the_paper(number):
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            flow = flow_number(number, dtype)
            near = flow.centre + jnp.asarray(np.float32(1e-3 * DRAW[1, 0]), dtype)
            far = jnp.asarray(np.float32(1e3 * DRAW[1, 1]), dtype)
            for x in (jnp.asarray(np.float32(DRAW[1, 2]), dtype), near, far):
                y, log_det = flow.forward(x)
                assert y.dtype == log_det.dtype == dtype
                exact, exact_log_det = exact_forward(flow, x)
                assert_near(y, [float(a) for a in exact], tolerance, "coordinate")
                assert_near(log_det, float(exact_log_det), tolerance, f"log-determinant at {x}")


def test_log_determinant_is_that_of_the_jacobian_both_ways():
    for number in range(10):
        check_log_det(lambda n=number: flow_number(n, jnp.float64), DRAW[1, :4])


def test_the_inverse_leads_back():
    for number in range(10):
        # A strength of e^-20 squeezes what is within reach by nine digits, which are then missing.
        tolerance = 1e-6 if SETTINGS[number][1] < -10 else 1e-10
        check_round_trip(lambda n=number: flow_number(n, jnp.float64), DRAW[1, :4], tolerance)


def test_zero_is_the_identity_and_the_centre_stays_where_it_is():
    np.testing.assert_allclose(flow_number(0).forward(jnp.ones(5))[0], np.ones(5), rtol=1e-6)
    for number in range(10):
        flow = flow_number(number)
        y, log_det = flow.forward(flow.centre)
        np.testing.assert_array_equal(y, flow.centre)
        # At the centre the Jacobian is (1 + s) I.
        above = np.log1p(np.expm1(1.0) * np.exp(np.float64(SETTINGS[number][1])))
        np.testing.assert_allclose(log_det, 5 * np.log(above), rtol=1e-5, atol=1e-6)
        jacobian = jax.jacfwd(lambda x, flow=flow: flow.forward(x)[0])(flow.centre)
        np.testing.assert_allclose(jacobian, above * np.eye(5), rtol=1e-4)


def test_gradients_are_those_of_float64():
    gradient = jax.jit(jax.grad(lambda flow, x: flow.forward(x)[1], (0, 1)))
    for number in range(10):
        flow, x = flow_number(number), jnp.asarray(DRAW[1, 0], jnp.float32)
        got = gradient(flow, x)
        with jax.enable_x64(True):
            exact = gradient(*in_float64((flow, x)))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, exact
        )


@pytest.mark.parametrize("raw_strength", [-2.0, 3.0])
def test_the_density_integrates_to_one(raw_strength):
    flow = Radial(jnp.array([0.5, -0.4]), jnp.float32(0.2), jnp.float32(raw_strength))
    q = Transformed(Normal(jnp.array([0.3, 0.2]), jnp.array([0.1, -0.2])), flow)
    # The density has a cusp at the centre, where the trapezoidal rule errs by 1e-4.
    np.testing.assert_allclose(total_mass(q, points=1001), 1.0, atol=3e-4)
