from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
    DATA,
    assert_close,
    assert_identical,
    assert_same_bound,
    noisy,
    run,
    start,
    train,
)

from jaxvae.training import one_by_one, vectorised

pytestmark = pytest.mark.usefixtures("quick_compilation")
SGD = optax.sgd(1e-2)


@cache
def alone(member):
    """The run of one of three keys."""
    return train(key=jax.random.split(jax.random.key(3), 3)[member], num_steps=10, optimiser=SGD)


@pytest.mark.parametrize("members", [vectorised, one_by_one])
def test_each_member_of_a_run_is_the_run_of_its_key_alone(members):
    keys = jax.random.split(jax.random.key(3), 3)
    together = train(key=keys, num_steps=10, members=members, optimiser=SGD)
    for i in range(3):
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together.params), alone(i).params)
        for record, record_alone in zip(together.history, alone(i).history, strict=True):
            assert record["bound"].shape == (3,)
            assert_same_bound(record["bound"][i], record_alone["bound"])


@pytest.mark.parametrize("members", [vectorised, one_by_one])
def test_members_resume_bit_for_bit(members):
    train_members = partial(
        train, key=jax.random.split(jax.random.key(3), 3), members=members, optimiser=SGD
    )
    begun, whole = train_members(num_steps=4), train_members(num_steps=9)
    resumed = run(noisy, begun.state, DATA, optimiser=SGD, num_steps=9, members=members)
    assert_identical(resumed.state, whole.state)


def sweep(hyperparameters, **options):
    return run(
        noisy,
        start,
        DATA,
        hyperparameters=hyperparameters,
        num_steps=12,
        optimiser=lambda h: optax.sgd(h["learning_rate"]),
        settings=lambda step, h: h["beta"],
        **options,
    )


RATES, BETAS = np.float32([1e-3, 1e-2, 3e-2]), np.float32([1.0, 0.5, 0.0])
SWEPT = {"learning_rate": RATES, "beta": BETAS}


@pytest.mark.parametrize("members", [vectorised, one_by_one])
def test_each_member_of_a_sweep_is_the_run_with_its_hyperparameters_alone(members):
    together = sweep(SWEPT, key=jax.random.key(2), members=members)
    for i in range(3):
        alone = sweep({name: values[i] for name, values in SWEPT.items()}, key=jax.random.key(2))
        assert alone.params["mean"].ndim == 1
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together.params), alone.params)
    # With a single key the members share their randomness, so only what is swept differs.
    keys = np.asarray(jax.random.key_data(together.state.key))
    assert np.all(keys == keys[0])


def test_a_number_alone_is_as_if_the_optimiser_and_the_settings_were_made_with_it():
    swept = sweep({"learning_rate": RATES[1], "beta": BETAS[1]}, key=jax.random.key(2))
    plain = train(
        key=jax.random.key(2), num_steps=12, optimiser=optax.sgd(float(RATES[1])),
        settings=jnp.float32(BETAS[1]),
    )  # fmt: skip
    assert_close(swept.params, plain.params)


def test_seeds_and_hyperparameters_are_swept_together():
    together = sweep(SWEPT, key=jax.random.split(jax.random.key(4), 3))
    key = jax.random.split(jax.random.key(4), 3)[1]
    alone = sweep({"learning_rate": RATES[1], "beta": BETAS[1]}, key=key)
    assert_close(jax.tree.map(lambda leaf: leaf[1], together.params), alone.params)


@pytest.mark.parametrize(
    ("rates", "betas", "count", "message"),
    [
        (RATES, BETAS[:2], None, "expected vectors of one length"),
        (RATES, np.float32(1), None, "expected vectors of one length"),
        (RATES[None], BETAS[None], None, "expected vectors of one length"),
        (RATES, BETAS, 2, "one entry for each of 2 members, got 3"),
    ],
)
def test_hyperparameters_that_do_not_fit_the_members_are_refused(rates, betas, count, message):
    key = jax.random.key(0) if count is None else jax.random.split(jax.random.key(0), count)
    with pytest.raises(ValueError, match=message):
        sweep({"learning_rate": rates, "beta": betas}, key=key)
