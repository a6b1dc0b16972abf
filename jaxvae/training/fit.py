"""Training of any loss: one compiled chunk of steps, called again and again by a Python loop."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.stages import Compiled
from tqdm.auto import tqdm

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.batches import num_rows, open_feed
from jaxvae.training.chunk import train_chunk
from jaxvae.training.devices import Layout, on_one_device, vectorised
from jaxvae.training.loop import Callback, Loop, OnFailure
from jaxvae.training.optimiser import Optimiser, skipping
from jaxvae.training.runs.run import Run
from jaxvae.training.state import TrainState, initial_state, with_best
from jaxvae.training.step import Loss, Prepare, TrainStep, autoencode


class Fit(NamedTuple):
    """The result of ``fit``.

    Attributes:
        params: trained parameters, on one device; with several members, stacked along a leading
            axis.
        state: the whole final state; pass it back to ``fit`` to go on.
        history: one flat dictionary per log record; values are floats, or arrays over members.
        compile_seconds: time to trace and compile.
        train_seconds: time spent in training and held-out evaluation, waiting for data included,
            callbacks excluded.
        memory_bytes: of the compiled chunk: arguments, results and temporaries.
    """

    params: PyTree
    state: TrainState
    history: list[dict[str, Any]]
    compile_seconds: float
    train_seconds: float
    memory_bytes: dict[str, int]


def fit(
    loss: Loss,
    init: Callable[[PRNGKey], PyTree] | TrainState,
    data: PyTree,
    *,
    key: Any = None,
    num_steps: int,
    optimiser: Optimiser,
    batch_size: int = 64,
    prepare: Prepare = autoencode,
    settings: PyTree | Callable[..., PyTree] = None,
    hyperparameters: PyTree = None,
    held_out: PyTree = None,
    patience: int | None = None,
    keep_best: bool = False,
    on_failure: OnFailure = "raise",
    log_every: int | None = None,
    members: Callable[[Callable], Callable] = vectorised,
    mesh: Mesh | None = None,
    run: Run | None = None,
    profile: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Fit:
    """Maximise the mean surrogate of a loss over the rows of the data.

    The order of the rows is a function of (key, epoch) and all noise is one of (key, step), so the
    same call gives the same parameters. A run that is continued from a state ends with the
    parameters of a run that was never stopped; with ``patience`` or ``keep_best`` this holds if it
    was stopped at a log record, as the held-out rows are evaluated there.

    Args:
        loss: ``(params, example, *, key, settings) -> Estimate`` of ONE example, such as
            ``functools.partial(objectives.elbo, model)``.
        init: key to fresh parameters (``model.init``), or the state of an earlier fit.
        data: pytree of arrays with rows along the first axis, which stays on the device; or a
            ``jaxvae.data.stream`` of data larger than memory, whose order has a seed of its own.
        key: a key trains one member, a vector of keys trains one member for each, all in one
            compiled run. A state has its own key, and takes none.
        num_steps: total number of steps, those already in a given state included.
        optimiser: an optax optimiser (a minimiser: it gets gradients of minus the surrogate, and
            its value where it asks for it; line searches, which call the loss, do not work), or a
            function of a member's hyperparameters that returns one.
        batch_size: rows per step, of all devices together.
        prepare: ``(row, key=)`` to example; ``autoencode`` makes the row both input and target,
            and takes examples as they are.
        settings: pytree of numbers for the loss, or a function of the step (and, if there are any,
            of the hyperparameters) that returns one; None leaves the loss its default.
        hyperparameters: numbers that differ between members: a pytree of vectors, one entry for
            each member. With a single key all members share their randomness.
        held_out: rows that are never trained on; each log record has their mean estimate.
        patience: log records without a higher held-out bound after which a member stops; None is
            never.
        keep_best: whether to keep the parameters (and their optimiser's state) with the highest
            held-out bound in ``state.watch.best``.
        on_failure: when a surrogate, gradient or parameter is not finite: ``raise``; ``skip``
            updates whose gradient is not finite and count them (at most a hundred in a row); or
            ``halt`` (the member keeps the state before that step, while others train on).
        log_every: steps between log records; an epoch by default.
        members: ``vectorised`` or ``one_by_one``, for several members.
        mesh: several devices, from ``device_mesh``: each takes its share of every batch, and the
            gradients are averaged. What a loss knows of its batch (the axis ``model.EXAMPLES``) is
            the device's share. An error within a step is NaN there.
        run: the folder of the run: log, checkpoints, Ctrl-C and SIGTERM, and resumption.
        profile: folder for a JAX profiler trace of one chunk (for TensorBoard or Perfetto).
        callbacks: called with each log record.
        progress: whether to show a progress bar.

    Returns:
        Parameters, state, history, times and memory.

    Raises:
        ValueError: if the data cannot fill one batch, its leaves disagree in length, or a size
            is not positive, or there is a key missing or too many.
        NonFiniteError: a ``FloatingPointError`` that names step, quantity and group.
        InterruptedStepError: a ``FloatingPointError``, where a step raises an error of its own on
            a single device, such as a solve that failed; the state before is kept in the run's
            folder.
    """
    _check_arguments(num_steps, held_out, patience, keep_best, on_failure)
    if on_failure == "skip":
        optimiser = skipping(optimiser)
    state, count = _starting_state(init, optimiser, key, hyperparameters, keep_best)
    state = _resumed(state, run, num_steps)
    layout = Layout(mesh, batch_size, count, members)
    train_step = TrainStep(
        loss, optimiser, batch_size, prepare, settings, patience=patience, layout=layout
    )
    first = int(state.step)
    with ExitStack() as stack:
        feed = stack.enter_context(closing(open_feed(data, batch_size, layout)))
        every = feed.steps_per_epoch if log_every is None else log_every
        _check.positive("log_every", every)
        bar = stack.enter_context(_bar(num_steps, first, progress))
        if run is not None:
            stack.enter_context(run.interruptible())
        started = time.perf_counter()
        state, held_out = layout.put_state(state), layout.put_shared(held_out)
        hyperparameters, batches = layout.put_members(hyperparameters), feed.upto(first, first)[0]
        shardings = layout.state_sharding(state), layout.shared
        chunk = jax.jit(
            layout.spread(partial(train_chunk, train_step)),
            donate_argnums=0,
            out_shardings=None if mesh is None else shardings,
        )
        numbers = layout.put_shared((np.int32(first), np.bool_(False)))
        compiled = chunk.lower(state, hyperparameters, batches, held_out, *numbers).compile()
        compile_seconds = time.perf_counter() - started
        bar.set_description("training")
        # The rate that is shown is that of training alone.
        bar.unpause()
        loop = Loop(
            train_step, compiled, state, hyperparameters, feed, held_out,
            on_failure, run, callbacks, bar, profile,
        )  # fmt: skip
        loop.train(num_steps, every)
        if run is not None:
            run.save(loop.state)
            run.checkpoints.wait()
    seconds = sum(record["chunk_steps"] / record["steps_per_second"] for record in loop.history)
    params = on_one_device(loop.state.params)
    return Fit(params, loop.state, loop.history, compile_seconds, seconds, _memory(compiled))


def _starting_state(
    init: Callable[[PRNGKey], PyTree] | TrainState,
    optimiser: Optimiser,
    key: Any,
    hyperparameters: PyTree,
    keep_best: bool,
) -> tuple[TrainState, int | None]:
    """The given state or a fresh one, and the number of members."""
    count = _count(hyperparameters)
    if isinstance(init, TrainState):
        if key is not None:
            raise ValueError("fit expected no key with a state, which has its own; leave key out")
        keys = init.key
    elif callable(init):
        keys = _keys(key, count)
    else:
        raise ValueError(
            "fit expected a function from a key to parameters, such as model.init, or a TrainState "
            f"to go on from, got {type(init).__name__}"
        )
    found = None if keys.ndim == 0 else keys.shape[0]
    if hyperparameters is not None and found != count:
        raise ValueError(
            f"hyperparameters expected vectors with one entry for each of {found or 1} members, "
            f"got {count}"
        )
    if isinstance(init, TrainState):
        return with_best(init, keep_best), found
    return initial_state(init, optimiser, keys, hyperparameters, keep_best=keep_best), found


def _resumed(state: TrainState, run: Run | None, num_steps: int) -> TrainState:
    """The state of the run that is resumed, if there is one, or else the given state."""
    if run is not None:
        state = run.resume(state)
    if int(state.step) > num_steps:
        raise ValueError(
            f"num_steps expected at least the {state.step} steps of the state, got {num_steps}"
        )
    return state


def _keys(key: Any, count: int | None) -> Array:
    typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed or key.ndim > 1 or key.size == 0:
        raise ValueError(
            "fit expected a key for fresh parameters, or a vector of keys, got "
            f"{key!r}; pass key=jax.random.key(seed)"
        )
    if key.ndim == 0 and count is not None:
        return jax.vmap(lambda _: key)(jnp.arange(count))
    return key


def _count(hyperparameters: PyTree) -> int | None:
    shapes = {np.shape(leaf) for leaf in jax.tree.leaves(hyperparameters)}
    if not shapes or shapes == {()}:
        return None
    if len(shapes) > 1 or len(min(shapes)) != 1:
        raise ValueError(
            "hyperparameters expected vectors of one length, one entry for each member, got "
            f"shapes {sorted(shapes)}"
        )
    return min(shapes)[0]


def _memory(compiled: Compiled) -> dict[str, int]:
    """Bytes of a compiled function on one device: arguments, results, temporaries, code."""
    found = compiled.memory_analysis()
    names = ("argument", "output", "temp", "generated_code")
    return {name: int(getattr(found, f"{name}_size_in_bytes")) for name in names}


def _bar(num_steps: int, first: int, progress: bool) -> tqdm:
    bar = tqdm(
        total=num_steps, initial=first, unit="step", disable=not progress, dynamic_ncols=True
    )
    bar.set_description("compiling")
    return bar


def _check_arguments(
    num_steps: int,
    held_out: PyTree,
    patience: int | None,
    keep_best: bool,
    on_failure: OnFailure,
) -> None:
    _check.positive("num_steps", num_steps)
    if on_failure not in get_args(OnFailure):
        raise ValueError(f"on_failure expected one of {get_args(OnFailure)}, got {on_failure!r}")
    if held_out is not None:
        _check.positive("the number of held-out rows", num_rows(held_out))
    elif patience is not None or keep_best:
        raise ValueError("patience and keep_best expected held-out rows to judge by, got none")
    if patience is not None:
        _check.positive("patience", patience)
