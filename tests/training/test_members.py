from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import ppca
import pytest
from problems import DATA, assert_close, assert_identical, elbo, run, train

from jaxvae import objectives
from jaxvae.training import one_by_one, vectorised


@pytest.mark.parametrize("members", [vectorised, one_by_one])
def test_each_member_of_a_run_is_the_run_of_its_key_alone(members):
    keys = jax.random.split(jax.random.key(3), 3)
    together = train(key=keys, num_steps=10, members=members)
    for i in range(3):
        alone = train(key=jax.random.split(jax.random.key(3), 3)[i], num_steps=10)
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together.params), alone.params)
        for line, line_alone in zip(together.history, alone.history, strict=True):
            assert line["bound"].shape == (3,)
            np.testing.assert_allclose(line["bound"][i], line_alone["bound"], rtol=1e-4)


@pytest.mark.parametrize("members", [vectorised, one_by_one])
def test_members_resume_bit_for_bit(members):
    start = partial(train, key=jax.random.split(jax.random.key(3), 2), members=members)
    begun, whole = start(num_steps=4), start(num_steps=9)
    resumed = run(
        elbo,
        begun.state,
        DATA,
        optimiser=optax.adam(1e-2),
        num_steps=9,
        members=members,
    )
    assert_identical(resumed.state, whole.state)


def sweep(hyperparameters, **options):
    return run(
        elbo,
        ppca.model.init,
        DATA,
        hyperparameters=hyperparameters,
        num_steps=12,
        optimiser=lambda h: optax.adam(h["learning_rate"]),
        settings=lambda step, h: objectives.ElboSettings(beta=h["beta"]),
        **options,
    )


RATES, BETAS = np.float32([1e-3, 1e-2, 3e-2]), np.float32([1.0, 0.5, 0.0])


@pytest.mark.parametrize("members", [vectorised, one_by_one])
def test_each_member_of_a_sweep_is_the_run_with_its_hyperparameters_alone(members):
    together = sweep(
        {"learning_rate": RATES, "beta": BETAS}, key=jax.random.key(2), members=members
    )
    for i in range(3):
        alone = train(
            key=jax.random.key(2),
            num_steps=12,
            optimiser=optax.adam(float(RATES[i])),
            settings=objectives.ElboSettings(beta=jnp.float32(BETAS[i])),
        )
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together.params), alone.params)
    # With a single key the members share their randomness, so only what is swept differs.
    keys = np.asarray(jax.random.key_data(together.state.key))
    assert np.all(keys == keys[0])


def test_seeds_and_hyperparameters_are_swept_together():
    keys = jax.random.split(jax.random.key(4), 3)
    together = sweep({"learning_rate": RATES, "beta": BETAS}, key=keys)
    alone = sweep(
        {"learning_rate": RATES[1], "beta": BETAS[1]}, key=jax.random.split(jax.random.key(4), 3)[1]
    )
    assert_close(jax.tree.map(lambda leaf: leaf[1], together.params), alone.params)
    assert alone.params.inference.weights.ndim == 2


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
