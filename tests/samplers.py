"""Compiled samplers, shared by all checks of one family.

Rejection loops take seconds to compile. Their laws are tested and not their digits, so they are
optimised less; and they are free of what is computed from the samples.
"""

from collections.abc import Callable
from functools import cache

import jax

OPTIONS = {"xla_backend_optimization_level": 1}
RUN_ONCE = {"xla_backend_optimization_level": 0}
"""For programs of few samples, which are not run for setting after setting."""


@cache
def sampler(make: Callable, number: int) -> Callable:
    """``(key, row, parameters)`` to an event, by the row-th of ``number`` keys."""

    def sample(key, row, parameters):
        return make(*parameters).sample(jax.random.split(key, number)[row])

    return jax.jit(sample, compiler_options=OPTIONS)


@cache
def sampler_with_gradient(make: Callable) -> Callable:
    """``(parameters, keys)`` to samples and their derivatives in the parameters."""

    def sample(parameters, key):
        return make(*parameters).sample(key)

    return jax.jit(jax.vmap(jax.value_and_grad(sample), (None, 0)), compiler_options=OPTIONS)
