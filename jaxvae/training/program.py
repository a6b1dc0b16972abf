"""The two compiled functions of a run: the chunk, and the diagnosis that a failure calls for."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from jaxvae._types import PyTree
from jaxvae.training.chunk import Loss, Prepare, Procedure, Report, run_chunk
from jaxvae.training.devices import ONE_DEVICE, Layout
from jaxvae.training.diagnosis import Diagnosis, diagnose
from jaxvae.training.rows import Feed, batch_of
from jaxvae.training.state import Optimiser, TrainState, optimiser_of


class Recipe(NamedTuple):
    """What ``fit`` is told of a step; a member's hyperparameters make it a ``Procedure``."""

    loss: Loss
    settings: PyTree | Callable[..., PyTree]
    prepare: Prepare
    optimiser: Optimiser
    batch_size: int
    patience: int | None = None
    skip: bool = False

    def procedure(self, hyperparameters: PyTree, layout: Layout = ONE_DEVICE) -> Procedure:
        """The step of one member."""
        loss, settings = self.loss, self.settings
        if settings is None:
            loss, settings = _with_default_settings(loss), ()
        return Procedure(
            loss,
            _schedule(settings, hyperparameters),
            self.prepare,
            optimiser_of(self.optimiser, hyperparameters),
            self.batch_size,
            self.patience,
            layout,
        )


class Program:
    """The compiled functions of a run.

    Args:
        recipe: of the step.
        layout: of the devices.
        members: how a function of one member becomes one of all, or None for a single member.
        state: the first state, for its shapes.
        shared: hyperparameters, feed and held-out rows, for theirs.
    """

    def __init__(
        self,
        recipe: Recipe,
        layout: Layout,
        members: Callable[[Callable], Callable] | None,
        state: TrainState,
        *shared: PyTree,
    ):
        self._recipe, self._layout, self._members = recipe, layout, members

        def chunk(state, hyperparameters, feed, held_out, stop, evaluate):
            return run_chunk(
                recipe.procedure(hyperparameters, layout), state, feed, held_out, stop, evaluate
            )

        sharding = layout.state_sharding(state)
        jitted = jax.jit(
            self._over_members(chunk),
            donate_argnums=0,
            out_shardings=None if sharding is None else (sharding, layout.shared),
        )
        stop, evaluate = self._numbers(0, False)
        self.compiled = jitted.lower(state, *shared, stop, evaluate).compile()

    def __call__(
        self, state: TrainState, hyper: PyTree, feed: Feed, held_out: PyTree, stop: int, look: bool
    ) -> tuple[TrainState, Report]:
        """Train up to ``stop``; the report is waited for."""
        state, report = self.compiled(state, hyper, feed, held_out, *self._numbers(stop, look))
        return state, jax.device_get(report)

    def diagnose(
        self, state: TrainState, hyper: PyTree, feed: Feed, stop: int
    ) -> tuple[TrainState, Diagnosis]:
        """Repeat a chunk up to the first step with something that is not finite."""
        state, diagnosis = self._diagnosis(state, hyper, feed, self._numbers(stop, False)[0])
        return state, jax.device_get(diagnosis)

    def rows(self, state: TrainState, feed: Feed, step: int) -> PyTree:
        """The batch that a member trained on at a step."""
        number = self._layout.put_shared(np.int32(step))
        return jax.jit(batch_of, static_argnums=3)(feed, state, number, self._recipe.batch_size)

    def memory(self) -> dict[str, int]:
        """Bytes of the compiled chunk on one device: arguments, results, temporaries, code."""
        found = self.compiled.memory_analysis()
        names = ("argument", "output", "temp", "generated_code")
        return {name: int(getattr(found, f"{name}_size_in_bytes")) for name in names}

    @cached_property
    def _diagnosis(self) -> Callable[..., tuple[TrainState, Diagnosis]]:
        def repeat(state, hyperparameters, feed, stop):
            procedure = self._recipe.procedure(hyperparameters, self._layout)
            return diagnose(procedure, state, feed, stop, only_updates=self._recipe.skip)

        sharding = self._layout.shared
        return jax.jit(self._over_members(repeat), out_shardings=sharding)

    def _over_members(self, function: Callable) -> Callable:
        members = function if self._members is None else self._members(function)
        return self._layout.over_devices(members)

    def _numbers(self, stop: int, look: bool) -> tuple[Array, Array]:
        return self._layout.put_shared((np.int32(stop), np.bool_(look)))


def _schedule(settings: Any, hyperparameters: PyTree) -> Callable[[Array], PyTree]:
    if not callable(settings):
        return lambda step: settings
    if hyperparameters is None:
        return settings
    return lambda step: settings(step, hyperparameters)


def _with_default_settings(loss: Loss) -> Loss:
    return lambda params, example, *, key, settings: loss(params, example, key=key)  # pyright: ignore[reportCallIssue]
