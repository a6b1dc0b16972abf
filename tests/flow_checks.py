"""What every flow is tested by: the Jacobian in full, and the way back."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from oracles import assert_near

METHODS = ("forward", "inverse")


def in_float64(tree):
    """Every array of a flow in float64; call it where x64 is enabled."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def randomised(params, seed, scale=1.0):
    """Parameters of the same shapes, drawn afresh: those that start at zero hide mistakes."""
    leaves, structure = jax.tree.flatten(params)
    draw = np.random.default_rng(seed).normal
    return jax.tree.unflatten(
        structure, [jnp.asarray(scale * draw(size=leaf.shape), leaf.dtype) for leaf in leaves]
    )


def check_log_det(make, points):
    """``forward`` (and ``inverse``, if there is one) against slogdet of the Jacobian, in float64.

    ``make()`` is called where x64 is enabled.
    """
    with jax.enable_x64(True):
        flow = make()
        for name in METHODS:
            if not hasattr(flow, name):
                continue
            for point in np.float64(points):
                (_, log_det), jacobian = _run(name, flow, jnp.asarray(point))
                _, exact = np.linalg.slogdet(np.asarray(jacobian))
                assert_near(log_det, exact, 1e-10, f"{name} at {point}")


@partial(jax.jit, static_argnums=0)
def _run(name, flow, point):
    """What a method returns, and the Jacobian of its point."""
    method = getattr(flow, name)
    return method(point), jax.jacfwd(lambda x: method(x)[0])(point)


def check_round_trip(make, points, tolerance=1e-10):
    """``inverse`` of ``forward`` is where it began, and the two log-determinants cancel."""
    with jax.enable_x64(True):
        flow = make()
        forward, inverse = (lambda *a, name=name: _run(name, *a)[0] for name in METHODS)
        for point in np.float64(points):
            y, there = forward(flow, jnp.asarray(point))
            x, back = inverse(flow, y)
            np.testing.assert_allclose(x, point, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(there + back, 0.0, atol=tolerance)
            again, _ = forward(flow, inverse(flow, jnp.asarray(point))[0])
            np.testing.assert_allclose(again, point, rtol=tolerance, atol=tolerance)


def total_mass(distribution, reach=9.0, points=401):
    """The integral of a density of two coordinates over a square, by the trapezoidal rule."""
    with jax.enable_x64(True):
        distribution = in_float64(distribution)
        axis = jnp.linspace(-reach, reach, points)
        grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        density = jnp.exp(jax.jit(jax.vmap(distribution.log_prob))(grid))
        return float(jnp.sum(density) * (axis[1] - axis[0]) ** 2)
