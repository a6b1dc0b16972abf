"""The training of exercise 12 with jax and optax alone: what ``jaxvae.fit`` is measured against."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from jaxvae import Example
from jaxvae.training import Loss

INIT, ORDER, NOISE = 0, 1, 3
"""Streams of randomness, numbered as ``jaxvae.fit`` does: both train the same parameters."""


class BareState(NamedTuple):
    """What a step changes."""

    params: Any
    optimiser: Any
    step: Array


class BareLoop:
    """One compiled loop over steps, whose state is donated: no log, no checkpoint, no check.

    The order of an epoch is one sort, as in ``jaxvae.fit``, and the mean bound of the steps is
    summed up for whoever wants to see it.

    Args:
        loss: of one example.
        init: key to parameters.
        images: the rows.
        key: root of all randomness.
        optimiser: of optax.
        batch_size: rows in a step.
        steps: compiled into one loop.
        loops: in a turn.
    """

    def __init__(
        self,
        loss: Loss,
        init: Callable[[Array], Any],
        images: np.ndarray,
        *,
        key: Array,
        optimiser: optax.GradientTransformation,
        batch_size: int,
        steps: int,
        loops: int,
    ):
        self._images, self._key, self._loops = jnp.asarray(images), key, loops
        params = jax.jit(init)(stream(key, INIT, 0))
        self.state = BareState(params, optimiser.init(params), jnp.zeros((), jnp.int32))
        self.bound = jnp.zeros(())
        started = time.perf_counter()
        loop = loop_over(mean_loss(loss), optimiser, batch_size, steps)
        jitted = jax.jit(loop, donate_argnums=0)
        self._loop = jitted.lower(self.state, self._images, key).compile()
        self.compile_seconds = time.perf_counter() - started

    def __call__(self) -> float:
        """Seconds for a turn."""
        started = time.perf_counter()
        for _ in range(self._loops):
            self.state, self.bound = self._loop(self.state, self._images, self._key)
        jax.block_until_ready((self.state, self.bound))
        return time.perf_counter() - started


def stream(key: Array, purpose: int, index: Array | int) -> Array:
    """The key of a purpose at an epoch or a step."""
    return jax.random.fold_in(jax.random.fold_in(key, purpose), index)


def mean_loss(loss: Loss) -> Callable[[Any, Array, Array], Array]:
    """Minus the mean surrogate of a batch, with a key for each row."""

    def mean(params, images, key):
        def one(image, key):
            return loss(params, Example(inputs=image, target=image), key=key).surrogate  # pyright: ignore[reportCallIssue]

        return -jnp.mean(jax.vmap(one)(images, jax.random.split(key, images.shape[0])))

    return mean


def loop_over(
    loss: Callable[[Any, Array, Array], Array],
    optimiser: optax.GradientTransformation,
    batch_size: int,
    steps: int,
) -> Callable[[BareState, Array, Array], tuple[BareState, Array]]:
    """So many steps from a state on, and the mean bound over them."""

    def train_step(state: BareState, rows: Array, key: Array) -> tuple[BareState, Array]:
        value, gradient = jax.value_and_grad(loss)(
            state.params, rows, stream(key, NOISE, state.step)
        )
        # Adam mixes its integer counter with floats, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, updates)
        return BareState(params, optimiser_state, state.step + 1), value

    def loop(state: BareState, images: Array, key: Array) -> tuple[BareState, Array]:
        size, stop = images.shape[0], state.step + steps
        per_epoch, flat = size // batch_size, images.reshape(size, -1)

        def epoch(carry):
            number = carry[0].step // per_epoch
            order = jnp.argsort(jax.random.bits(stream(key, ORDER, number), (size,)))

            def step(index, carry):
                state, total = carry
                chosen = lax.dynamic_slice_in_dim(order, index * batch_size, batch_size)
                rows = flat[chosen].reshape(batch_size, *images.shape[1:])
                state, value = train_step(state, rows, key)
                return state, total - value

            first = carry[0].step - number * per_epoch
            last = jnp.minimum(stop - number * per_epoch, per_epoch)
            return lax.fori_loop(first, last, step, carry)

        carry = state, jnp.zeros(())
        state, total = lax.while_loop(lambda carry: carry[0].step < stop, epoch, carry)
        return state, total / steps

    return loop
