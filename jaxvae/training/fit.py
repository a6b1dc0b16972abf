"""Training of any loss: Python runs only between compiled chunks of steps."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from tqdm.auto import tqdm

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.chunk import Loss, Prepare, Procedure, Report, run_chunk
from jaxvae.training.prepare import autoencode
from jaxvae.training.state import Stream, TrainState, stream_key


@runtime_checkable
class Callback(Protocol):
    """Called after each chunk with the state and the line that was logged."""

    def __call__(self, state: TrainState, line: dict[str, Any], /) -> None:
        """React to the end of a chunk."""
        ...


class Fit(NamedTuple):
    """The result of ``fit``.

    Attributes:
        params: trained parameters; with several members, stacked along a leading axis.
        state: the whole final state; pass it back to ``fit`` to go on.
        history: one flat dictionary per chunk; values are floats, or arrays over members.
        compile_seconds: time to trace and compile.
        train_seconds: time in compiled chunks.
    """

    params: PyTree
    state: TrainState
    history: list[dict[str, Any]]
    compile_seconds: float
    train_seconds: float


def vectorised(chunk: Callable) -> Callable:
    """Members side by side: every operation gets an axis of members."""
    axes: Any = TrainState(params=0, optimiser=0, key=0, step=None)  # pyright: ignore[reportArgumentType]
    return jax.vmap(chunk, in_axes=(axes, None, None, None), out_axes=(axes, 0))


def one_by_one(chunk: Callable) -> Callable:
    """Members one after another inside the compiled function, for networks that batch badly."""

    def run(state, data, held_out, stop):
        def member(leaves):
            params, optimiser, key = leaves
            before = TrainState(params, optimiser, key, state.step)
            after, report = chunk(before, data, held_out, stop)
            return (after.params, after.optimiser, after.key), report

        leaves, report = lax.map(member, (state.params, state.optimiser, state.key))
        return TrainState(*leaves, step=stop), report

    return run


def initial_state(
    init: Callable[[PRNGKey], PyTree], optimiser: optax.GradientTransformation, key: Array
) -> TrainState:
    """Fresh parameters and optimiser state; one member per key."""

    def member(key):
        params = init(stream_key(key, Stream.INIT))
        return TrainState(params, optimiser.init(params), key, jnp.zeros((), jnp.int32))

    if key.ndim == 0:
        return jax.jit(member)(key)
    return jax.jit(jax.vmap(member))(key)._replace(step=jnp.zeros((), jnp.int32))


def fit(
    loss: Loss,
    init: Callable[[PRNGKey], PyTree] | TrainState,
    data: PyTree,
    *,
    key: Array,
    num_steps: int,
    optimiser: optax.GradientTransformation,
    batch_size: int = 64,
    prepare: Prepare = autoencode,
    settings: PyTree | Callable[[Array], PyTree] = None,
    held_out: PyTree = None,
    log_every: int | None = None,
    members: Callable[[Callable], Callable] = vectorised,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Fit:
    """Maximise the mean surrogate of a loss over the rows of the data.

    The order of the rows is a function of (key, epoch) and all noise one of (key, step), so the
    same call gives the same parameters, and a run that continues from a state gives those of the
    run that never stopped.

    Args:
        loss: ``(params, example, *, key, settings) -> Estimate`` of ONE example, such as
            ``functools.partial(objectives.elbo, model)``.
        init: key to fresh parameters (``model.init``), or the state of an earlier fit.
        data: pytree of arrays with rows along the first axis; it stays on the device.
        key: a key trains one member, a vector of keys trains one member for each, all in one
            compiled run.
        num_steps: total number of steps, those already in a given state included.
        optimiser: any optax optimiser (a minimiser: it gets gradients of minus the surrogate).
        batch_size: rows per step.
        prepare: row to example; ``autoencode`` makes the row both input and target.
        settings: pytree of numbers for the loss, or a function of the step that returns one;
            None leaves the loss its default.
        held_out: rows whose mean estimate is reported after each chunk and never trained on.
        log_every: steps in a chunk; an epoch by default.
        members: ``vectorised`` or ``one_by_one``, for a vector of keys.
        callbacks: called after each chunk.
        progress: whether to show a progress bar.

    Returns:
        Parameters, state, history and times.

    Raises:
        ValueError: if the data cannot fill one batch, its leaves disagree in length, or a size
            is not positive.
        FloatingPointError: if a surrogate is not finite; the message names the first such step.
    """
    num_rows = _num_rows(data)
    for name, value in (("num_steps", num_steps), ("batch_size", batch_size)):
        _check.positive(name, value)
    if num_rows < batch_size:
        raise ValueError(
            f"fit expected at least batch_size = {batch_size} rows, got {num_rows}; "
            "reduce batch_size"
        )
    steps_per_epoch = num_rows // batch_size
    every = steps_per_epoch if log_every is None else log_every
    _check.positive("log_every", every)

    if settings is None:
        run_loss, schedule = _with_default_settings(loss), _constant(())
    else:
        run_loss, schedule = loss, settings if callable(settings) else _constant(settings)
    procedure = Procedure(run_loss, prepare, optimiser, batch_size, schedule)
    # Copied, because the buffers of the state are donated to the compiled chunk.
    state = (
        jax.tree.map(jnp.copy, init)
        if isinstance(init, TrainState)
        else initial_state(init, optimiser, key)
    )
    data, held_out = jax.device_put((data, held_out))

    def chunk(state, data, held_out, stop):
        return run_chunk(procedure, state, data, held_out, stop)

    run = chunk if state.key.ndim == 0 else members(chunk)
    started = time.perf_counter()
    stop = jnp.zeros((), jnp.int32)
    compiled = jax.jit(run, donate_argnums=0).lower(state, data, held_out, stop).compile()
    compile_seconds = time.perf_counter() - started

    history: list[dict[str, Any]] = []
    train_seconds = 0.0
    step = int(state.step)
    with tqdm(
        total=num_steps, initial=step, unit="step", disable=not progress, dynamic_ncols=True
    ) as bar:
        while step < num_steps:
            stop = min(step + every - step % every, num_steps)
            started = time.perf_counter()
            state, report = compiled(state, data, held_out, jnp.asarray(stop, jnp.int32))
            report = jax.device_get(report)
            seconds = time.perf_counter() - started
            train_seconds += seconds
            line = _line(report, stop, stop / steps_per_epoch, stop - step, seconds)
            _raise_if_bad(report.first_bad_step)
            history.append(line)
            for callback in callbacks:
                callback(state, line)
            bar.update(stop - step)
            bar.set_postfix(bound=f"{np.mean(line['bound']):.2f}", refresh=False)
            step = stop
    return Fit(state.params, state, history, compile_seconds, train_seconds)


def _constant(settings: PyTree) -> Callable[[Array], PyTree]:
    return lambda step: settings


def _with_default_settings(loss: Loss) -> Loss:
    return lambda params, example, *, key, settings: loss(params, example, key=key)  # pyright: ignore[reportCallIssue]


def _num_rows(data: PyTree) -> int:
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1:
        raise ValueError(
            f"fit expected arrays with one common number of rows, got {sorted(lengths)}; "
            "rows lie along the first axis of every array"
        )
    return lengths.pop()


def _line(report: Report, step: int, epoch: float, steps: int, seconds: float) -> dict[str, Any]:
    line = {"step": step, "epoch": epoch, "bound": report.train.bound, **report.train.parts}
    if report.held_out is not None:
        line |= {"held_out_bound": report.held_out.bound}
        line |= {f"held_out_{name}": value for name, value in report.held_out.parts.items()}
    return line | {"chunk_steps": steps, "steps_per_second": steps / seconds}


def _raise_if_bad(steps: np.ndarray) -> None:
    if np.any(steps >= 0):
        member = f" of member {int(np.argmax(steps >= 0))}" if steps.ndim else ""
        raise FloatingPointError(
            f"the surrogate{member} was not finite at step {steps[steps >= 0].min()}; try a "
            "smaller learning rate, clip gradients (optax.clip_by_global_norm), or check the data"
        )
