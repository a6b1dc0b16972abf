import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from flow_checks import check_log_det, in_float64
from oracles import TOLERANCES, assert_near

from jaxvae.distributions import Normal, Transformed, kl_monte_carlo
from jaxvae.distributions.flows import Planar

DRAW = np.random.default_rng(0).normal(size=(4, 10, 5))
# Ten flows from next to none to one that turns a half-space into a wall: u, w and b are scaled.
SCALES = [(1e-6, 1, 0), (1, 1e-6, 1), (1, 1, 1), (5, 1, 0.1), (1, 5, 1), (0.1, 10, 3)]
SCALES += [(30, 0.3, 1), (-4, 4, 0), (20, 20, 0), (1, 1, 30)]


def flow_number(i, dtype=jnp.float32):
    """Row 7 has u and w opposed: w'u is far below -1 and has to be lifted above it."""
    u, w, b = SCALES[i]
    first = DRAW[1, i] if i == 7 else DRAW[0, i]
    arrays = u * first, w * DRAW[1, i], b * DRAW[2, i, 0]
    return Planar(*(jnp.asarray(np.float32(a), dtype) for a in arrays))


def exact_forward(flow, x):
    """Equations 10 to 12 and appendix A.1 as they are written, in mpmath."""
    u, w, x = (mpmath.matrix([float(a) for a in v]) for v in (flow.u, flow.w, x))
    raw = (w.T * u)[0]
    lifted = -1 + mpmath.log(1 + (mpmath.e - 1) * mpmath.exp(raw))
    u = u + (lifted - raw) / (w.T * w)[0] * w
    distance = (w.T * x)[0] + mpmath.mpf(float(flow.b))
    factor = 1 + mpmath.sech(distance) ** 2 * (w.T * u)[0]
    assert factor > 0
    return x + u * mpmath.tanh(distance), mpmath.log(factor)


@pytest.mark.parametrize("number", range(10))
def test_image_and_log_determinant_are_those_of_the_paper(number):
    for dtype, tolerance in TOLERANCES.items():
        with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
            flow = flow_number(number, dtype)
            for x in jnp.asarray(np.float32(DRAW[3, :4]), dtype):
                y, log_det = flow.forward(x)
                assert y.dtype == log_det.dtype == dtype
                exact, exact_log_det = exact_forward(flow, x)
                # A steep wall multiplies the rounding of its argument by the length of w.
                steep = max(1.0, float(jnp.linalg.norm(flow.w)), float(jnp.linalg.norm(flow.u)))
                assert_near(y, [float(a) for a in exact], tolerance * steep, "coordinate")
                assert_near(log_det, float(exact_log_det), tolerance * steep, "log-determinant")


def test_log_determinant_is_that_of_the_jacobian():
    for number in (1, 2, 3, 4, 7):
        check_log_det(lambda n=number: flow_number(n, jnp.float64), DRAW[3, :5])


@pytest.mark.parametrize("distance", [0.1, 3.0, 6.0, 9.0, 12.0, 30.0, -9.0, -30.0])
def test_far_from_the_plane_the_log_determinant_keeps_its_digits(distance):
    """It is small there, and the square of the hyperbolic tangent rounds to one."""
    flow = Planar(jnp.array([2.0, 1.0]), jnp.array([1.0, 0.0]), jnp.zeros(()))
    x = jnp.array([distance, 5.0])
    with mpmath.workdps(60):
        exact = float(exact_forward(flow, x)[1])
    np.testing.assert_allclose(flow.forward(x)[1], exact, rtol=3e-6 * max(1.0, abs(distance)))


def test_without_a_plane_it_shifts_by_u_and_its_gradient_is_known():
    u, b, x = jnp.array([1.0, -2.0]), jnp.float32(0.7), jnp.array([0.5, 3.0])
    flow = Planar(u, jnp.zeros(2), b)
    y, log_det = flow.forward(x)
    np.testing.assert_allclose(y, x + u * np.tanh(0.7), rtol=1e-6)
    assert log_det == 0.0
    gradient = jax.grad(lambda flow: jnp.sum(flow.forward(x)[0]))(flow)
    np.testing.assert_allclose(gradient.u, np.full(2, np.tanh(0.7)), rtol=1e-6)
    np.testing.assert_allclose(gradient.b, -1.0 * (1 - np.tanh(0.7) ** 2), rtol=1e-6)


def test_gradients_are_those_of_float64():
    gradient = jax.jit(jax.grad(lambda flow, x: flow.forward(x)[1], (0, 1)))
    for number in (2, 3, 4, 7, 8, 9):
        flow, x = flow_number(number), jnp.asarray(DRAW[3, 0], jnp.float32)
        got = gradient(flow, x)
        with jax.enable_x64(True):
            exact = gradient(*in_float64((flow, x)))
        largest = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(exact))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True):
            # A hundred roundings for each unit of the argument, which steep walls multiply.
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * max(1.0, largest))


def test_samples_and_their_densities_integrate_to_one():
    """E_q[p/q] = 1 for any density p that q covers, and so KL(q || p) >= 0 is unbiased."""
    flow = Planar(jnp.array([1.5, -1.0]), jnp.array([1.0, 2.0]), jnp.float32(0.3))
    q, p = Transformed(Normal.standard((2,)), flow), Normal(jnp.zeros(2), jnp.full(2, -0.5))
    keys = jax.random.split(jax.random.key(0), 100_000)
    z, log_q = jax.jit(jax.vmap(q.sample_and_log_prob))(keys)
    ratio = np.exp(np.float64(jax.jit(jax.vmap(p.log_prob))(z) - log_q))
    assert np.std(ratio) > 0.1
    assert abs(np.mean(ratio) - 1) < 4 * np.std(ratio) / np.sqrt(100_000)
    assert kl_monte_carlo(q, p, key=jax.random.key(1), num_samples=1000) > 0.1


def test_it_says_that_it_has_no_inverse():
    q = Transformed(Normal.standard((5,)), flow_number(2))
    with pytest.raises(ValueError, match=r"a flow with an inverse, got Planar.*monte_carlo"):
        q.log_prob(jnp.zeros(5))


@pytest.mark.usefixtures("without_type_checks")
def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"Planar expected .* u \(2,\), w \(3,\)"):
        Planar(jnp.zeros(2), jnp.zeros(3), jnp.zeros(()))
    with pytest.raises(ValueError, match=r"Planar.forward expected .* \(5,\), got \(1,\)"):
        flow_number(2).forward(jnp.zeros(1))
