"""A failed step, taken again eagerly: which rows, which operation."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae._types import PRNGKey, PyTree
from jaxvae.training.chunk import Loss, Prepare, Procedure, gradients, row_keys, update
from jaxvae.training.devices import on_one_device
from jaxvae.training.diagnosis import finite_groups
from jaxvae.training.failure import RUN_TIME_ERRORS, Failure, load_failure, sentence_of
from jaxvae.training.finite import all_finite, no_nan
from jaxvae.training.prepare import autoencode
from jaxvae.training.program import Recipe
from jaxvae.training.state import Optimiser, TrainState, initial_state, skipping


class Replay(NamedTuple):
    """What a failed step looks like from near.

    Attributes:
        failure: the step that was replayed.
        surrogates: of each row of the batch, nats.
        bad_rows: rows whose surrogate or gradient is not finite.
        finite: name of each quantity and group of parameters to whether it was finite, in the
            order in which they are computed.
        trace: of the first bad row: the sentence of an error, such as that of a solve that failed,
            or else a traceback of the first operation with a non-finite result; empty if there is
            no bad row.
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
    """Take a failed step again, row by row, and the first bad row operation by operation.

    Args:
        failure: of a ``NonFiniteError``, or the folder of the run that met it.
        loss: as given to ``fit``, as are all that follow.
        init: key to fresh parameters, for their structure.
        data: for the structure of a row; needed with a folder.
        optimiser: likewise.
        prepare: row to example.
        settings: of the loss.
        hyperparameters: of the member that failed, single numbers.
        skipped: whether the fit was one with ``on_failure="skip"``.
        member: which of several that failed, with a folder.

    Raises:
        ValueError: if the folder holds no failure, or one of another model or optimiser.
    """
    if skipped:
        optimiser = skipping(optimiser)
    if not isinstance(failure, Failure):
        like = jax.eval_shape(
            lambda: initial_state(init, optimiser, jax.random.key(0), hyperparameters)
        )
        failure = load_failure(Path(failure), like, data, member)
    size = jax.tree.leaves(failure.rows)[0].shape[0]
    recipe = Recipe(loss, settings, prepare, optimiser, size, None)
    procedure = recipe.procedure(hyperparameters)
    # On several devices an error that is raised would leave the others waiting.
    state = on_one_device(failure.state)
    finite = _finite(procedure, state, failure.rows)
    surrogates, bad_rows = _rows(procedure, state, failure.rows)
    trace = _trace(procedure, state, failure.rows, bad_rows[0]) if bad_rows else ""
    return Replay(failure, surrogates, bad_rows, finite, trace)


def _finite(procedure: Procedure, state: TrainState, rows: PyTree) -> dict[str, bool]:
    try:
        step = jax.jit(lambda *a: gradients(procedure, *a))
        gradient, estimate = jax.block_until_ready(step(state, rows))
    except RUN_TIME_ERRORS as error:
        _sentence(error)
        return {"surrogate": False}
    after = jax.jit(lambda *a: update(procedure, *a))(state, gradient, estimate)
    return {
        "surrogate": bool(jnp.isfinite(estimate.surrogate)),
        **{f"gradient of {k}": bool(v) for k, v in finite_groups(gradient).items()},
        **{f"update of {k}": bool(v) for k, v in finite_groups(after.params).items()},
        "optimiser's state": bool(no_nan(after.optimiser)),
    }


def _rows(procedure: Procedure, state: TrainState, rows: PyTree) -> tuple[np.ndarray, list[int]]:
    """The surrogate of each row, NaN where it raises an error, and which rows are bad."""

    @jax.jit
    def one(arguments):
        value, gradient = jax.value_and_grad(_of_row(procedure, state, *arguments))(state.params)
        return value, all_finite((value, gradient))

    def seen(arguments):
        try:
            return jax.device_get(jax.block_until_ready(one(arguments)))
        except RUN_TIME_ERRORS as error:
            _sentence(error)
            return np.nan, False

    batch = rows, *row_keys(state, procedure.batch_size)
    found = [seen(_row_at(batch, i)) for i in range(procedure.batch_size)]
    surrogates, good = map(np.asarray, zip(*found, strict=True))
    return surrogates, np.flatnonzero(~good).tolist()


def _trace(procedure: Procedure, state: TrainState, rows: PyTree, index: int) -> str:
    batch = rows, *row_keys(state, procedure.batch_size)
    surrogate = _of_row(procedure, state, *_row_at(batch, index))
    try:
        jax.block_until_ready(jax.jit(jax.grad(surrogate))(state.params))
    except RUN_TIME_ERRORS as error:
        return _sentence(error)
    try:
        with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
            jax.grad(surrogate)(state.params)
    except FloatingPointError:
        return traceback.format_exc()
    return ""


def _sentence(error: Exception) -> str:
    """What a run-time error says; another error is none of the step's own, and raised again."""
    said = sentence_of(error)
    if said is None:
        raise error
    return said


def _row_at(batch: PyTree, index: int) -> Any:
    """A row and its two keys."""
    return jax.tree.map(lambda x: jnp.asarray(x)[index], batch)


def _of_row(procedure: Procedure, state: TrainState, row: Any, *keys: Any) -> Callable:
    return lambda params: procedure.estimator(params, state.step)(row, *keys).surrogate
