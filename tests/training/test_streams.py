"""Training on a stream: the order is the stream's, everything else is as with arrays."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import DATA, ROWS, assert_close, assert_identical, counting_loss, noisy, start

import jaxvae
from jaxvae import data
from jaxvae.training import batches, fit

pytestmark = pytest.mark.usefixtures("quick_compilation")
BATCH = 4
PER_EPOCH = ROWS // BATCH
rows = np.asarray(DATA)
stream = data.stream(data.Rows(rows), seed=3)
train = partial(fit, noisy, start, optimiser=optax.adam(1e-2), batch_size=BATCH, progress=False)


@pytest.fixture(params=[1, 5, 256])
def block_steps(request, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BLOCK_STEPS", request.param)


@pytest.fixture(scope="module")
def whole():
    return train(stream, key=jax.random.key(0), num_steps=20)


def test_the_size_of_the_blocks_changes_nothing(whole, block_steps):
    assert_identical(train(stream, key=jax.random.key(0), num_steps=20).state, whole.state)


@pytest.mark.parametrize("cut", [3, 6, 7])
def test_the_position_in_the_data_is_resumed_with_the_state(whole, cut):
    begun = train(stream, key=jax.random.key(0), num_steps=cut)
    resumed = fit(
        noisy, begun.state, stream, optimiser=optax.adam(1e-2), batch_size=BATCH, num_steps=20,
        progress=False,
    )  # fmt: skip
    assert_identical(resumed.state, whole.state)


def test_every_epoch_visits_distinct_rows():
    visits = []
    fit(
        counting_loss, lambda key: jnp.zeros(ROWS), data.stream(data.Rows(np.eye(ROWS, dtype="f"))),
        optimiser=optax.sgd(float(BATCH)), batch_size=BATCH, key=jax.random.key(0), num_steps=12,
        log_every=PER_EPOCH, progress=False,
        callbacks=[lambda state, line: visits.append(np.asarray(state.params))],
    )  # fmt: skip
    counts = np.diff([np.zeros(ROWS), *visits], axis=0)
    for epoch in counts:
        assert set(epoch) == {0.0, 1.0}
        assert epoch.sum() == PER_EPOCH * BATCH
    assert np.any(counts[0] != counts[1])


def test_members_see_the_same_rows_and_are_as_if_alone():
    keys = jax.random.split(jax.random.key(5), 2)
    ascend = partial(train, stream, num_steps=9, optimiser=optax.sgd(1e-2))
    together, alone = ascend(key=keys), ascend(key=jax.random.split(jax.random.key(5), 2)[1])
    assert_close(jax.tree.map(lambda leaf: leaf[1], together.params), alone.params)


def test_records_on_the_disk_train_as_their_rows_do(tmp_path, whole):
    data.write_array_records(tmp_path / "rows.array_record", rows)
    records = data.stream(data.ArrayRecords(tmp_path / "rows.array_record"), seed=3)
    found = train(records, key=jax.random.key(0), num_steps=20)
    assert_identical(found.state, whole.state)
    assert all(0 <= line["waiting_share"] <= 1 for line in found.history)


def test_a_source_that_fails_stops_the_run_with_its_row(tmp_path):
    class Broken:
        def __len__(self):
            return ROWS

        def __getitem__(self, index):
            if index == 11:
                raise OSError("bad sector")
            return rows[index]

    with pytest.raises(ValueError, match=r"step \d+: .*11.*bad sector"):
        train(data.stream(Broken()), key=jax.random.key(0), num_steps=20)


def test_a_failure_on_a_stream_keeps_the_batch():
    spoilt = rows.copy()
    spoilt[8, 2] = np.nan
    with pytest.raises(jaxvae.training.NonFiniteError) as met:
        train(data.stream(data.Rows(spoilt), seed=3), key=jax.random.key(0), num_steps=20)
    assert np.isnan(met.value.failure.rows).any()
