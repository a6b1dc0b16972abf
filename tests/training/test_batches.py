import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
    BATCH,
    COUNT,
    ROWS,
    STEPS_PER_EPOCH,
    counting_loss,
    key_number,
    run,
    scalar_estimate,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.parametrize("epochs", [1, 3])
def test_an_epoch_visits_distinct_rows_and_drops_the_last_partial_batch(epochs):
    visits = []
    run(
        counting_loss,
        lambda key: jnp.zeros(ROWS),
        jnp.eye(ROWS),
        optimiser=COUNT,
        key=jax.random.key(0),
        num_steps=epochs * STEPS_PER_EPOCH,
        callbacks=[lambda state, line: visits.append(np.asarray(state.params))],
    )
    epochs_visits = np.diff([np.zeros(ROWS), *visits], axis=0)
    assert epochs_visits.shape == (epochs, ROWS)
    for counts in epochs_visits:
        assert set(counts) == {0.0, 1.0}
        assert counts.sum() == STEPS_PER_EPOCH * BATCH
    if epochs > 1:  # the rows left over are others each time
        assert np.any(epochs_visits[0] != epochs_visits[1])


def test_the_order_of_rows_is_another_in_each_epoch_and_for_each_key():
    def orders(seed):
        visits = []
        run(
            counting_loss,
            lambda key: jnp.zeros(12),
            jnp.eye(12),
            batch_size=1,
            optimiser=optax.sgd(1.0),
            key=jax.random.key(seed),
            num_steps=24,
            log_every=1,
            callbacks=[lambda state, line: visits.append(np.asarray(state.params))],
        )
        rows = np.argmax(np.diff([np.zeros(12), *visits], axis=0), axis=1)
        return rows[:12], rows[12:]

    first, second = orders(0)
    for order in (first, second):
        assert sorted(order) == list(range(12))
    assert np.any(first != np.arange(12))
    assert np.any(first != second)
    assert np.any(first != orders(1)[0])


def test_prepare_and_loss_get_fresh_keys_for_every_row_and_step():
    def prepare(row, *, key):
        return row, key_number(key)

    def loss(params, example, *, key):
        row, prepared = example
        noise = key_number(key)
        # Slots of a one-hot row record the numbers that its two keys gave.
        gain = jnp.vdot(params[0], row) * prepared + jnp.vdot(params[1], row) * noise
        return scalar_estimate(gain)

    recorded = []
    run(
        loss,
        lambda key: jnp.zeros((2, ROWS)),
        jnp.eye(ROWS),
        prepare=prepare,
        optimiser=COUNT,
        key=jax.random.key(0),
        num_steps=2 * STEPS_PER_EPOCH,
        callbacks=[lambda state, line: recorded.append(np.asarray(state.params))],
    )
    numbers = np.concatenate([recorded[0].ravel(), (recorded[1] - recorded[0]).ravel()])
    numbers = numbers[numbers != 0]
    assert len(numbers) == 2 * 2 * STEPS_PER_EPOCH * BATCH
    assert np.min(np.diff(np.sort(numbers))) > 1e-6
