"""Hamiltonian Monte Carlo for a geometric mean of densities."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxvae._types import PRNGKey, Scalar

LogDensity: TypeAlias = Callable[[Array], Array]


class Point(NamedTuple):
    """A position with what its densities say there, kept so that nothing is computed twice.

    Attributes:
        position: z.
        log_densities: of every part, nats.
        gradients: of every part.
    """

    position: Float[Array, " latent"]
    log_densities: Float[Array, " parts"]
    gradients: Float[Array, "parts latent"]


def evaluate(parts: Sequence[LogDensity], position: Float[Array, " latent"]) -> Point:
    """The densities and their gradients at a position."""
    found = [jax.value_and_grad(part)(position) for part in parts]
    return Point(
        position, jnp.stack([value for value, _ in found]), jnp.stack([grad for _, grad in found])
    )


def leapfrog(
    parts: Sequence[LogDensity],
    weights: Float[Array, " parts"],
    point: Point,
    momentum: Float[Array, " latent"],
    *,
    step_size: Scalar,
    num_steps: int,
) -> tuple[Point, Float[Array, " latent"]]:
    r"""Follow $\dot z = p,\ \dot p = \nabla\sum_i w_i\log f_i(z)$ for a number of steps.

    The map keeps volumes, is undone by reversing the momentum, and errs in the energy by
    $O(\epsilon^2)$.

    Args:
        parts: $\log f_i$, functions of the position.
        weights: $w_i$, positive.
        point: where it begins.
        momentum: with which.
        step_size: $\epsilon$.
        num_steps: number of steps, and of gradients.

    Reference: Neal (2011), section 5.2.3.3.
    """

    def step(_, state: tuple[Point, Array]) -> tuple[Point, Array]:
        point, momentum = state
        halfway = momentum + 0.5 * step_size * (weights @ point.gradients)
        new = evaluate(parts, point.position + step_size * halfway)
        return new, halfway + 0.5 * step_size * (weights @ new.gradients)

    return lax.fori_loop(0, num_steps, step, (point, momentum))


def transition(
    parts: Sequence[LogDensity],
    weights: Float[Array, " parts"],
    point: Point,
    *,
    key: PRNGKey,
    step_size: Scalar,
    num_steps: int,
) -> tuple[Point, Scalar]:
    r"""One step of a Markov chain that is reversible for a density $\propto\prod_i f_i(z)^{w_i}$.

    A trajectory with a fresh momentum is proposed, and accepted with the probability
    $\min(1, e^{H - H'})$ that corrects the error of the energy H. What is not finite is rejected.

    Args:
        parts: $\log f_i$, functions of the position.
        weights: $w_i$, positive.
        point: where the chain is.
        key: consumed once.
        step_size: of ``leapfrog``; it may be random but must not depend on the position.
        num_steps: of ``leapfrog``.

    Returns:
        Where the chain is next, and the probability with which the proposal was accepted.

    Reference: Neal (2011), section 5.3.2.
    """
    momentum_key, accept_key = jax.random.split(key)
    shape, dtype = point.position.shape, point.position.dtype
    momentum = jax.random.normal(momentum_key, shape, dtype)
    proposal, end = leapfrog(
        parts, weights, point, momentum, step_size=step_size, num_steps=num_steps
    )
    # Differences of each part, as the sums may be too large to tell them apart.
    gain = weights @ (proposal.log_densities - point.log_densities)
    log_ratio = gain + 0.5 * (jnp.sum(momentum**2) - jnp.sum(end**2))
    probability = jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
    accepted = jax.random.uniform(accept_key, (), dtype) < probability
    return jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old), proposal, point
    ), probability
