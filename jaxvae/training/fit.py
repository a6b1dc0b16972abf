"""Training of any loss: Python runs only between compiled chunks of steps."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from tqdm.auto import tqdm

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.chunk import Loss, Prepare, Procedure, Report, run_chunk
from jaxvae.training.members import initial_state, vectorised
from jaxvae.training.prepare import autoencode
from jaxvae.training.state import TrainState


@runtime_checkable
class Callback(Protocol):
    """Called after each chunk with the state and the line that was logged.

    The next chunk reuses the state's buffers: copy what is to be kept.
    """

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


def fit(
    loss: Loss,
    init: Callable[[PRNGKey], PyTree] | TrainState,
    data: PyTree,
    *,
    key: Any = None,
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
            compiled run. A state has its own key, and takes none.
        num_steps: total number of steps, those already in a given state included.
        optimiser: an optax optimiser (a minimiser: it gets gradients of minus the surrogate, and
            its value where it asks for it; line searches, which call the loss, do not work).
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
            is not positive, or there is a key missing or too many.
        FloatingPointError: if a surrogate is not finite; the message names the first such step.
    """
    per_epoch = steps_per_epoch(_num_rows(data), batch_size)
    every = per_epoch if log_every is None else log_every
    for name, value in {"num_steps": num_steps, "log_every": every}.items():
        _check.positive(name, value)
    if held_out is not None:
        _check.positive("the number of held-out rows", _num_rows(held_out))
    state = _starting_state(init, optimiser, key)
    procedure = Procedure(*_loss_and_schedule(loss, settings), prepare, optimiser, batch_size)

    def chunk(state, data, held_out, stop):
        return run_chunk(procedure, state, data, held_out, stop)

    arguments = jax.device_put((data, held_out))
    step = int(state.step)
    if step > num_steps:
        raise ValueError(
            f"num_steps expected at least the {step} steps of the state, got {num_steps}"
        )
    history: list[dict[str, Any]] = []
    bar = tqdm(total=num_steps, initial=step, unit="step", disable=not progress, dynamic_ncols=True)
    with bar:
        bar.set_description("compiling")
        started = time.perf_counter()
        run = jax.jit(chunk if state.key.ndim == 0 else members(chunk), donate_argnums=0)
        compiled = run.lower(state, *arguments, jnp.zeros((), jnp.int32)).compile()
        compile_seconds = time.perf_counter() - started
        bar.set_description("training")
        # The rate that is shown is that of training alone.
        bar.unpause()
        while step < num_steps:
            stop = min(step + every - step % every, num_steps)
            started = time.perf_counter()
            state, report = compiled(state, *arguments, jnp.asarray(stop, jnp.int32))
            report = jax.device_get(report)
            seconds = time.perf_counter() - started
            _raise_if_bad(report.first_bad_step)
            history.append(_line(report, stop, stop / per_epoch, stop - step, seconds))
            for callback in callbacks:
                callback(state, history[-1])
            bar.update(stop - step)
            bar.set_postfix(bound=f"{np.mean(report.train.bound):.2f}", refresh=False)
            step = stop
    train_seconds = sum(line["chunk_steps"] / line["steps_per_second"] for line in history)
    return Fit(state.params, state, history, compile_seconds, train_seconds)


def _starting_state(
    init: Callable[[PRNGKey], PyTree] | TrainState,
    optimiser: optax.GradientTransformation,
    key: Any,
) -> TrainState:
    if isinstance(init, TrainState):
        if key is not None:
            raise ValueError("fit expected no key with a state, which has its own; leave key out")
        # Copied, because the buffers of the state are donated to the compiled chunk.
        return jax.tree.map(jnp.copy, init)
    typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed or key.ndim > 1 or key.size == 0:
        raise ValueError(
            "fit expected a key for fresh parameters, or a vector of keys, got "
            f"{key!r}; pass key=jax.random.key(seed)"
        )
    return initial_state(init, optimiser, key)


def _loss_and_schedule(
    loss: Loss, settings: PyTree | Callable[[Array], PyTree]
) -> tuple[Loss, Callable[[Array], PyTree]]:
    if settings is None:
        return _with_default_settings(loss), _constant(())
    return loss, settings if callable(settings) else _constant(settings)


def _constant(settings: PyTree) -> Callable[[Array], PyTree]:
    return lambda step: settings


def _with_default_settings(loss: Loss) -> Loss:
    return lambda params, example, *, key, settings: loss(params, example, key=key)  # pyright: ignore[reportCallIssue]


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Number of whole batches in the rows.

    Raises:
        ValueError: if there is none.
    """
    _check.positive("batch_size", batch_size)
    if num_rows < batch_size:
        raise ValueError(
            f"expected at least batch_size = {batch_size} rows, got {num_rows}; reduce batch_size"
        )
    return num_rows // batch_size


def _num_rows(data: PyTree) -> int:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(data)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"fit expected arrays with one common number of rows, got shapes {shapes}; "
            "rows lie along the first axis of every array"
        )
    return shapes[0][0]


def _line(report: Report, step: int, epoch: float, steps: int, seconds: float) -> dict[str, Any]:
    line = {"step": step, "epoch": epoch, "bound": report.train.bound, **report.train.parts}
    if report.held_out is not None:
        line |= {"held_out_bound": report.held_out.bound}
        line |= {f"held_out_{name}": value for name, value in report.held_out.parts.items()}
    return line | {"chunk_steps": steps, "steps_per_second": steps / seconds}


def _raise_if_bad(steps: np.ndarray) -> None:
    if np.all(steps < 0):
        return
    first = np.where(steps < 0, np.iinfo(steps.dtype).max, steps)
    member = f" of member {int(np.argmin(first))}" if steps.ndim else ""
    raise FloatingPointError(
        f"the surrogate{member} was not finite at step {first.min()}; try a smaller learning rate, "
        "clip gradients (optax.clip_by_global_norm), or check the data"
    )
