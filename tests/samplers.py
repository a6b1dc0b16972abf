"""Compiled samplers, shared by all checks of one family.

Rejection loops take seconds to compile. The distributions of samples are tested and not their
digits, so the programs are optimised less; and they are free of what is computed from the samples.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp

OPTIONS = {"xla_backend_optimization_level": 1}
RUN_ONCE = {"xla_backend_optimization_level": 0}
"""For programs of few samples, which are not run for setting after setting."""


@cache
def sampler(make: Callable) -> Callable:
    """``(parameters, key)`` to an event."""
    return jax.jit(lambda parameters, key: make(*parameters).sample(key), compiler_options=OPTIONS)


@cache
def sampler_with_slopes(make: Callable) -> Callable:
    """``(parameters, key)`` to an event and the derivative of each coordinate in each parameter.

    A coordinate depends on its own parameters only.
    """

    def sample(parameters, key):
        event, pull_back = jax.vjp(lambda p: make(*p).sample(key), parameters)
        return event, *pull_back(jnp.ones_like(event))[0]

    return jax.jit(sample, compiler_options=OPTIONS)
