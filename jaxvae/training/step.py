"""One step of training: from a batch of rows to the next parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from jaxvae._types import PRNGKey, PyTree
from jaxvae.model import Estimate, Example, map_examples
from jaxvae.training.devices import ONE_DEVICE, Layout
from jaxvae.training.optimiser import Optimiser, optimiser_of
from jaxvae.training.state import Purpose, TrainState, purpose_key


@runtime_checkable
class Loss(Protocol):
    """What training maximises the mean surrogate of."""

    def __call__(self, params: Any, example: Any, /, *, key: PRNGKey, settings: Any) -> Estimate:
        """Estimate of one example."""
        ...


@runtime_checkable
class Prepare(Protocol):
    """How a row of the data becomes an example: unchanged, binarised, corrupted."""

    def __call__(self, row: Any, /, *, key: PRNGKey) -> Example:
        """Example of one row, possibly random."""
        ...


def autoencode(row: PyTree, /, *, key: PRNGKey) -> Example:
    """Make the row both what the encoder sees and what is scored; an example stays what it is."""
    del key
    return row if isinstance(row, Example) else Example(inputs=row, target=row)


def binarise_dynamically(row: Float[Array, "*event"], /, *, key: PRNGKey) -> Example:
    """Draw each pixel anew at every visit: 1 with the probability of its grey value.

    Reference: Burda, Grosse and Salakhutdinov (2016), section 5.
    """
    binary = jax.random.bernoulli(key, row).astype(row.dtype)
    return Example(inputs=binary, target=binary)


@dataclass(frozen=True)
class TrainStep:
    """How a step is taken: what ``fit`` is told of it, made once from its arguments.

    Attributes:
        loss: estimate of one example.
        optimiser: an optax optimiser, which minimises minus the surrogate, or a function of the
            hyperparameters that returns one.
        batch_size: rows per step, of all devices together.
        prepare: row to example.
        settings: numbers for the loss, or a function of the step (and of the hyperparameters, if
            there are any) that returns them; None leaves the loss its default.
        hyperparameters: those of the member that takes the step.
        patience: held-out evaluations without a higher bound after which a member stops, or None.
        layout: the devices that share the rows of a batch.
    """

    loss: Loss
    optimiser: Optimiser
    batch_size: int
    prepare: Prepare = autoencode
    settings: PyTree | Callable[..., PyTree] = None
    hyperparameters: PyTree = None
    patience: int | None = None
    layout: Layout = ONE_DEVICE

    def estimator(self, params: PyTree, step: Int[Array, ""]) -> Callable[..., Estimate]:
        """The function of (row, key to prepare it, key for the loss) that returns its estimate."""
        settings = {} if self.settings is None else {"settings": self._settings_at(step)}

        def of_row(row, prepare_key, noise_key):
            example = self.prepare(row, key=prepare_key)
            return self.loss(params, example, key=noise_key, **settings)

        return of_row

    def row_keys(self, state: TrainState) -> tuple[Array, Array]:
        """For each row of the batch of the state's step: a key to prepare it, one for the loss."""
        return (
            jax.random.split(purpose_key(state.key, Purpose.PREPARE, state.step), self.batch_size),
            jax.random.split(purpose_key(state.key, Purpose.NOISE, state.step), self.batch_size),
        )

    def gradient(self, state: TrainState, rows: PyTree) -> tuple[PyTree, Estimate]:
        """Gradient of minus the mean surrogate of a batch, and the mean estimate.

        Args:
            state: before the step.
            rows: this device's share of the batch.
        """
        keys = self.layout.own(self.row_keys(state))

        def negative_surrogate(params):
            estimator = self.estimator(params, state.step)
            mean = mean_estimate(map_examples(estimator, rows, *keys))
            return -mean.surrogate, mean

        return self.layout.mean(jax.grad(negative_surrogate, has_aux=True)(state.params))

    def update(self, state: TrainState, gradient: PyTree, estimate: Estimate) -> TrainState:
        """The state after the optimiser's step."""
        optimiser = optimiser_of(self.optimiser, self.hyperparameters)
        # Adam mixes its integer counter with floats, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimiser_state = optax.with_extra_args_support(optimiser).update(
                gradient, state.optimiser, state.params, value=-estimate.surrogate
            )
            params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, optimiser=optimiser_state, step=state.step + 1)

    def _settings_at(self, step: Int[Array, ""]) -> PyTree:
        if not callable(self.settings):
            return self.settings
        if self.hyperparameters is None:
            return self.settings(step)
        return self.settings(step, self.hyperparameters)


def mean_estimate(estimates: Estimate) -> Estimate:
    """The mean of the estimates of several rows."""
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), estimates)
