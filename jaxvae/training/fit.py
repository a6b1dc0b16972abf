"""Training of any loss: Python runs only between compiled chunks of steps."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple, get_args

from jax.sharding import Mesh
from tqdm.auto import tqdm

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.chunk import Loss, Prepare
from jaxvae.training.devices import Layout, on_one_device
from jaxvae.training.feeds import num_rows, open_feed
from jaxvae.training.loop import Callback, Loop, OnFailure
from jaxvae.training.members import vectorised
from jaxvae.training.prepare import autoencode
from jaxvae.training.program import Program, Recipe
from jaxvae.training.run import Run
from jaxvae.training.start import starting_state
from jaxvae.training.state import Optimiser, TrainState, skipping


class Fit(NamedTuple):
    """The result of ``fit``.

    Attributes:
        params: trained parameters, on one device; with several members, stacked along a leading
            axis.
        state: the whole final state; pass it back to ``fit`` to go on.
        history: one flat dictionary per line; values are floats, or arrays over members.
        compile_seconds: time to trace and compile.
        train_seconds: time between the lines, waiting for data included and callbacks excluded.
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

    The order of the rows is a function of (key, epoch) and all noise one of (key, step), so the
    same call gives the same parameters, and a run that continues from a state gives those of the
    run that never stopped (with ``patience`` or ``keep_best``: of one that stopped at a line).

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
        held_out: rows whose mean estimate is reported with each line and never trained on.
        patience: lines without a higher held-out bound after which a member stops; None is never.
        keep_best: whether to keep the parameters (and their optimiser's state) with the highest
            held-out bound in ``state.watch.best``.
        on_failure: when a surrogate, gradient or parameter is not finite: ``raise``; ``skip``
            updates whose gradient is not and count them (a hundred in a row are borne); or
            ``halt`` (the member keeps the state before that step, while others train on).
        log_every: steps between lines; an epoch by default.
        members: ``vectorised`` or ``one_by_one``, for several members.
        mesh: several devices, from ``device_mesh``: each takes its share of every batch, and the
            gradients are averaged. What a loss knows of its batch (the axis ``model.EXAMPLES``) is
            the device's share. An error within a step is NaN there.
        run: the folder of the run: log, checkpoints, Ctrl-C and SIGTERM, and resumption.
        profile: folder for a JAX profiler trace of one chunk (for TensorBoard or Perfetto).
        callbacks: called with each line.
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
    state, count = starting_state(
        init, optimiser, key, hyperparameters, keep_best=keep_best, run=run, num_steps=num_steps
    )
    layout = Layout(mesh, batch_size, count)
    recipe = Recipe(loss, settings, prepare, optimiser, batch_size, patience, on_failure == "skip")
    first = int(state.step)
    with ExitStack() as stack:
        feed = stack.enter_context(closing(open_feed(data, batch_size, layout)))
        every = feed.steps_per_epoch if log_every is None else log_every
        _check.positive("log_every", every)
        bar = stack.enter_context(_bar(num_steps, first, progress))
        if run is not None:
            stack.enter_context(run.interruptible())
        started = time.perf_counter()
        state, kept = layout.put_state(state), layout.put_shared(held_out)
        hyper, over = layout.put_members(hyperparameters), None if count is None else members
        program = Program(recipe, layout, over, state, hyper, feed.upto(first, first)[0], kept)
        compile_seconds = time.perf_counter() - started
        bar.set_description("training")
        # The rate that is shown is that of training alone.
        bar.unpause()
        loop = Loop(program, state, hyper, feed, kept, on_failure, run, callbacks, bar, profile)
        loop.train(num_steps, every)
        if run is not None:
            run.save(loop.state)
            run.checkpoints.wait()
    seconds = sum(line["chunk_steps"] / line["steps_per_second"] for line in loop.history)
    params = on_one_device(loop.state.params)
    return Fit(params, loop.state, loop.history, compile_seconds, seconds, program.memory())


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
