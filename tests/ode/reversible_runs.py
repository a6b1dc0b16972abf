"""Runs of the reversible scheme, and the same scheme without custom derivatives."""

import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.ode import reversible_solve

TSIT5, HEUN = diffrax.Tsit5.tableau, diffrax.Heun.tableau


def straight(field, params, z0, ts, counts, tableau, coupling):
    """The same scheme, step after step, without custom derivatives."""

    def psi(t, z, h):
        slopes = []
        for row, node in zip([[], *tableau.a_lower], [0.0, *tableau.c], strict=True):
            stage = z + h * sum((float(a) * k for a, k in zip(row, slopes, strict=True)), 0.0 * z)
            slopes.append(field(t + float(node) * h, stage, params))
        return h * sum(float(b) * k for b, k in zip(tableau.b_sol, slopes, strict=True))

    def step(state, times):
        y, z = state
        t, h = times
        y = coupling * y + (1.0 - coupling) * z + psi(t, z, h)
        return (y, z - psi(t + h, y, -h)), y

    repeats = {"repeats": np.array(counts), "total_repeat_length": sum(counts)}
    h = jnp.repeat(jnp.diff(ts) / np.maximum(counts, 1.0), **repeats)
    number = np.concatenate([np.arange(float(count)) for count in counts])
    _, states = jax.lax.scan(step, (z0, z0), (jnp.repeat(ts[:-1], **repeats) + number * h, h))
    return jnp.concatenate([z0[None], states])[np.cumsum([0, *counts])]


def network(t, z, params):
    hidden = jnp.tanh(params["into"] @ z + jnp.sin(t) * params["bias"])
    return params["out"] @ hidden + jnp.cos(t) * 0.1


def network_params(d, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape) / math.sqrt(d), float)

    return {"into": draw(d, d), "bias": draw(d), "out": draw(d, d)}


def swing(t, z, matrix):
    return jnp.sin(matrix @ z) + t


SWING = np.random.default_rng(4).normal(size=(3, 3))


def weighted(values, seed=1):
    """A loss that looks at every number."""
    weights = np.random.default_rng(seed).normal(size=values.shape)
    return jnp.sum(jnp.asarray(weights, values.dtype) * jnp.sin(values))


def worst(got, expected):
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    norms = [(np.linalg.norm(np.subtract(a, b)), np.linalg.norm(b)) for a, b in pairs]
    return max(float(off / size) for off, size in norms)


def linear(t, z, matrix):
    return matrix @ z


def solve_and_pull(field, params, z0, ts, **settings):
    """Solution; gradients of a loss that looks at the first three times."""

    def loss(params, z0, ts):
        solution = reversible_solve(
            field, params, z0, ts, **{"tableau": HEUN, "dt0": 0.1, "max_steps": 50} | settings
        )
        return weighted(solution.values[:3]), solution

    gradient, solution = jax.grad(loss, (0, 1, 2), has_aux=True)(params, z0, ts)
    return solution, gradient
