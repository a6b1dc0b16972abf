"""A failed step repeated: which rows it failed for, and in which operation."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int

from jaxvae._types import PRNGKey, PyTree
from jaxvae.model import map_examples
from jaxvae.training.batches import num_rows
from jaxvae.training.devices import on_one_device
from jaxvae.training.failures.failure import RUN_TIME_ERRORS, Failure, load_failure, message_of
from jaxvae.training.failures.finite import all_finite, finite_groups, no_nan
from jaxvae.training.optimiser import Optimiser, skipping
from jaxvae.training.state import TrainState, initial_state
from jaxvae.training.step import Loss, Prepare, TrainStep, autoencode


class Replay(NamedTuple):
    """What a repeated step shows.

    Attributes:
        failure: the step that was repeated.
        surrogates: of each row of the batch, nats.
        bad_rows: rows whose surrogate or gradient is not finite.
        finite: whether each quantity of each group of parameters was finite, in the order in which
            they are computed.
        trace: of the first bad row: the message of an error, such as that of a solve that failed,
            or else a traceback to the first operation whose result was not finite; empty if there
            is no bad row.
    """

    failure: Failure
    surrogates: np.ndarray
    bad_rows: list[int]
    finite: dict[str, bool]
    trace: str

    def __str__(self) -> str:
        bad = [name for name, finite in self.finite.items() if not finite]
        return "\n".join(
            [
                self.failure.describe(),
                f"not finite: {', '.join(bad) or 'nothing this time'}",
                f"rows of the batch: {self.bad_rows or 'none by itself'}",
                self.trace,
            ]
        )


def replay(
    failure: Failure | str | Path,
    loss: Loss,
    init: Callable[[PRNGKey], PyTree],
    data: PyTree = None,
    *,
    optimiser: Optimiser,
    prepare: Prepare = autoencode,
    settings: PyTree | Callable[..., PyTree] = None,
    hyperparameters: PyTree = None,
    skipped: bool = False,
    member: int | None = None,
) -> Replay:
    """Repeat a failed step row by row, and its first bad row operation by operation.

    Args:
        failure: of a ``NonFiniteError``, or the folder of the run that raised it.
        loss: that of the fit, like all arguments below.
        init: key to fresh parameters, read for their structure only.
        data: read for the structure of a row only; needed with a folder.
        optimiser: that of the fit.
        prepare: row to example.
        settings: of the loss.
        hyperparameters: the numbers of the member that failed.
        skipped: whether the fit had ``on_failure="skip"``.
        member: which of the members that failed, with a folder.

    Raises:
        ValueError: if the folder holds no failure, or that of another model or optimiser.
    """
    if skipped:
        optimiser = skipping(optimiser)
    if not isinstance(failure, Failure):
        like = jax.eval_shape(
            lambda: initial_state(init, optimiser, jax.random.key(0), hyperparameters)
        )
        failure = load_failure(Path(failure), like, data, member)
    train_step = TrainStep(
        loss, optimiser, num_rows(failure.rows), prepare, settings, hyperparameters
    )
    # On one device: if one of several raises an error, the others wait for it in vain.
    state = on_one_device(failure.state)
    finite = _finite(train_step, state, failure.rows)
    surrogates, messages = _rows(train_step, state, failure.rows)
    bad_rows, trace = list(messages), ""
    if bad_rows:
        first = bad_rows[0]
        trace = messages[first] or _trace(train_step, state, failure.rows, first)
    return Replay(failure, surrogates, bad_rows, finite, trace)


def _finite(train_step: TrainStep, state: TrainState, rows: PyTree) -> dict[str, bool]:
    try:
        gradient, estimate = jax.block_until_ready(jax.jit(train_step.gradient)(state, rows))
    except RUN_TIME_ERRORS as error:
        _message(error)
        return {"surrogate": False}
    after = jax.jit(train_step.update)(state, gradient, estimate)
    return {
        "surrogate": bool(jnp.isfinite(estimate.surrogate)),
        **{f"gradient of {k}": bool(v) for k, v in finite_groups(gradient).items()},
        **{f"update of {k}": bool(v) for k, v in finite_groups(after.params).items()},
        "optimiser's state": bool(no_nan(after.optimiser)),
    }


def _rows(
    train_step: TrainStep, state: TrainState, rows: PyTree
) -> tuple[np.ndarray, dict[int, str]]:
    """The surrogate of each row, NaN where it raises an error, and the messages of bad rows."""

    @jax.jit
    def one(index):
        surrogate = _surrogate_of_row(train_step, state, rows, index)
        value, gradient = jax.value_and_grad(surrogate)(state.params)
        return value, all_finite((value, gradient))

    surrogates, messages = np.full(train_step.batch_size, np.nan), {}
    for index in range(train_step.batch_size):
        try:
            surrogates[index], good = jax.device_get(jax.block_until_ready(one(index)))
            if not good:
                messages[index] = ""
        except RUN_TIME_ERRORS as error:
            messages[index] = _message(error)
    return surrogates, messages


def _trace(train_step: TrainStep, state: TrainState, rows: PyTree, index: int) -> str:
    """A traceback to the first operation of a row whose result is not finite."""
    surrogate = _surrogate_of_row(train_step, state, rows, index)
    try:
        with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
            jax.grad(surrogate)(state.params)
    except FloatingPointError:
        return traceback.format_exc()
    return ""


def _message(error: Exception) -> str:
    """What an error of the loss says; any other error is raised again."""
    said = message_of(error)
    if said is None:
        raise error
    return said


def _surrogate_of_row(
    train_step: TrainStep, state: TrainState, rows: PyTree, index: Int[Array, ""] | int
) -> Callable[[PyTree], Array]:
    """The surrogate of a row of the batch as a function of the parameters."""
    batch = rows, *train_step.row_keys(state)
    # A batch of one, as models that solve a batch together look for it by the name of its axis.
    one = jax.tree.map(lambda x: jnp.asarray(x)[index][None], batch)

    def surrogate(params):
        return map_examples(train_step.estimator(params, state.step), *one).surrogate[0]

    return surrogate
