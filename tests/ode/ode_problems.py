"""Equations whose solutions are known, for the tests of the integrators."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae import ode

SPIRAL = [[-0.1, 1.0], [-0.2, -0.1]]
START = [1.0, 0.5]


def linear(t, z, a):
    del t
    return a @ z


def flow(a, z0, t):
    """The closed form of ``linear``: exp(A t) z0."""
    return jax.scipy.linalg.expm(a * t) @ z0


def logistic(t, z, rate):
    del t
    return rate * z * (1 - z)


def explosive(t, z, rate):
    """Reaches infinity at t = 1 / (rate z0)."""
    del t
    return rate * jnp.square(z)


ADJOINTS = {
    "checkpointed": ode.Checkpointed(),
    "few checkpoints": ode.Checkpointed(5),
    "direct": ode.Direct(),
    "backsolve": ode.Backsolve(),
    "seminorm": ode.Backsolve(seminorm=True),
    "forward": ode.ForwardMode(),
    "reversible": ode.Reversible(),
}


def integrator(adjoint, *, max_steps=256):
    """Exact to about 1e-8 on the problems above: adaptive where the adjoint allows it."""
    if isinstance(adjoint, ode.Reversible):
        return ode.fixed_steps(0.02, solver=ode.Tsit5(), adjoint=adjoint, max_steps=max_steps)
    return ode.adaptive(1e-9, 1e-11, adjoint=adjoint, max_steps=max_steps)


def gradient(adjoint):
    """``jax.grad``, forwards for the adjoint that knows no other way."""
    return jax.jacfwd if isinstance(adjoint, ode.ForwardMode) else jax.grad


def assert_close(found, expected, rtol):
    """Within ``rtol`` of the largest entry, leaf by leaf."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, float), np.asarray(b, float)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * max(np.abs(b).max(), 1e-300))
