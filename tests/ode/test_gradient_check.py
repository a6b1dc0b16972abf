"""The check finds gradients that are wrong, and says why and what to use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_problems import SPIRAL, START, linear

from jaxvae import ode

pytestmark = pytest.mark.usefixtures("quick_compilation")

FIELD = jnp.array(SPIRAL, jnp.float32)
Z0 = jnp.array(START, jnp.float32)
TIMES = jnp.linspace(0.0, 10.0, 4)


@pytest.mark.parametrize(
    "integrator",
    [
        ode.adaptive(),
        pytest.param(ode.fixed_steps(0.1), marks=pytest.mark.exhaustive),
        ode.adaptive(adjoint=ode.ForwardMode()),
    ],
    ids=["checkpointed", "fixed", "forward"],
)
def test_gradients_that_agree(integrator):
    check = ode.gradient_check(integrator, linear, FIELD, Z0, TIMES)
    assert check.agrees
    assert "agree" in check.message
    assert set(check.errors) == {"z0", "params"}


def test_an_adjoint_that_is_wrong_where_the_steps_are_right():
    """A decay that the backward solve has to undo: growth by e^30 of every rounding error."""

    def decay(t, z, rate):
        return -rate * (z - jnp.sin(t))

    adjoint = ode.Backsolve()
    check = ode.gradient_check(
        ode.adaptive(1e-4, 1e-6, adjoint=adjoint),
        decay,
        jnp.array(30.0),
        jnp.array(1.0),
        jnp.array([0.0, 1.0]),
        tolerance=1e-2,
    )
    assert not check.agrees
    assert "use Checkpointed()" in check.message
    assert max(check.checkpointed.values()) < 1e-2 < max(check.errors.values())


def test_steps_that_are_too_coarse_for_any_adjoint():
    check = ode.gradient_check(ode.fixed_steps(2.0), linear, FIELD, Z0, TIMES, tolerance=1e-4)
    assert not check.agrees
    assert "steps are too coarse" in check.message


def test_errors_are_relative_distances_to_the_exact_gradient():
    """Euler's step h multiplies by (1 - h), so that d/dz0 of z^2/2 is known in both."""

    def decay(t, z, rate):
        return -rate * z

    ts = jnp.array([0.0, 1.0])
    check = ode.gradient_check(
        ode.fixed_steps(0.5, solver=ode.Euler()),
        decay,
        jnp.array(1.0),
        jnp.array(3.0),
        ts,
        loss=lambda values: 0.5 * jnp.square(values[-1]),
    )
    exact, euler = np.exp(-2.0), 0.5**4
    assert check.errors["z0"] == pytest.approx(abs(euler - exact) / exact, rel=1e-5)
    assert jax.config.jax_enable_x64 is False
