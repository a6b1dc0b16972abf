from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import ppca
import pytest
from problems import (
    COUNT,
    DATA,
    EPS,
    assert_identical,
    elbo,
    noisy,
    quadratic,
    run,
    scalar_estimate,
    train,
    zeros,
)

from jaxvae import objectives
from jaxvae.model import Params

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def uninterrupted():
    return train(key=jax.random.key(0), num_steps=20)


def test_the_same_key_gives_the_same_parameters_and_another_key_others(uninterrupted):
    again = train(key=jax.random.key(0), num_steps=20)
    other = train(key=jax.random.key(1), num_steps=20)
    assert_identical(again.state, uninterrupted.state)
    assert np.all(other.params["mean"] != uninterrupted.params["mean"])


@pytest.mark.parametrize("first", [6, 7])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(uninterrupted, first):
    begun = train(key=jax.random.key(0), num_steps=first)
    assert int(begun.state.step) == first
    # The key of the state counts, not the one given here.
    resumed = run(noisy, begun.state, DATA, optimiser=optax.adam(1e-2), num_steps=20)
    assert_identical(resumed.state, uninterrupted.state)
    assert_identical(resumed.params, uninterrupted.params)
    # Its lines fall on the same steps, even where it began inside a chunk.
    assert [line["step"] for line in resumed.history] == [12, 18, 20]


def test_the_given_state_survives_and_can_be_continued_twice(uninterrupted):
    begun = train(key=jax.random.key(0), num_steps=7)
    for _ in range(2):
        again = run(noisy, begun.state, DATA, optimiser=optax.adam(1e-2), num_steps=20)
        assert_identical(again.state, uninterrupted.state)
    assert int(begun.state.step) == 7
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(begun.state))


@pytest.mark.parametrize("log_every", [1, 7, 100])
def test_logging_more_or_less_often_changes_nothing(uninterrupted, log_every):
    logged = train(key=jax.random.key(0), num_steps=20, log_every=log_every)
    assert_identical(logged.state, uninterrupted.state)
    expected = [*range(log_every, 20, log_every), 20]
    assert [line["step"] for line in logged.history] == expected
    # Means over chunks average to the mean over the run.
    lengths = np.diff([0, *expected])
    mean, expected_mean = (
        np.average([line["bound"] for line in lines], weights=weights)
        for lines, weights in ((logged.history, lengths), (uninterrupted.history, [6, 6, 6, 2]))
    )
    # Twenty terms below 30 in size.
    np.testing.assert_allclose(mean, expected_mean, rtol=0, atol=20 * 30 * EPS)


def test_the_loss_is_traced_once_whatever_the_number_and_length_of_chunks():
    def traces(**options):
        count = 0

        def loss(params, example, *, key):
            nonlocal count
            count += 1
            return quadratic(params, example, key=key)

        run(
            loss,
            zeros,
            DATA,
            optimiser=optax.sgd(0.1),
            key=jax.random.key(0),
            **options,
        )
        return count

    one_chunk = traces(num_steps=20, log_every=20)
    assert traces(num_steps=20, log_every=3) == one_chunk  # the last chunk is shorter
    assert traces(num_steps=200, log_every=1) == one_chunk
    assert one_chunk <= 2  # the shapes of an estimate, and the program


def test_held_out_rows_leave_training_alone_and_give_their_mean_estimate(uninterrupted):
    held_out = jax.random.normal(jax.random.key(7), (300, 5))  # more than one batch of evaluation
    spied = train(key=jax.random.key(0), num_steps=20, held_out=held_out[:10])
    assert_identical(spied.state[:4], uninterrupted.state[:4])

    bounds = []
    found = run(
        quadratic,
        zeros,
        DATA,
        optimiser=optax.sgd(0.1),
        key=jax.random.key(0),
        num_steps=13,
        held_out=held_out,
        callbacks=[
            lambda state, line: bounds.append(
                -np.mean(np.sum((np.float64(held_out) - np.asarray(state.params)) ** 2, axis=1))
            )
        ],
    )
    # A mean of 300 numbers of one sign.
    np.testing.assert_allclose(
        [line["held_out_bound"] for line in found.history], bounds, rtol=300 * EPS
    )


def test_held_out_noise_is_the_same_each_time():
    frozen = train(
        key=jax.random.key(0), num_steps=18, held_out=DATA[:10], optimiser=optax.sgd(0.0)
    )
    held_out = [line["held_out_bound"] for line in frozen.history]
    training = [line["bound"] for line in frozen.history]
    assert held_out[0] == held_out[1] == held_out[2]
    assert len(set(map(float, training))) == 3


def test_history_lines_hold_steps_epochs_means_and_speed(uninterrupted):
    assert [line["step"] for line in uninterrupted.history] == [6, 12, 18, 20]
    epochs = [line["epoch"] for line in uninterrupted.history]
    np.testing.assert_allclose(epochs, [1, 2, 3, 20 / 6])
    for line in uninterrupted.history:
        assert {"step", "epoch", "bound", "reconstruction", "kl", "steps_per_second"} <= set(line)
        difference = line["reconstruction"] - line["kl"]
        np.testing.assert_allclose(line["bound"], difference, rtol=0, atol=6 * 30 * EPS)
        assert line["steps_per_second"] > 0
    assert uninterrupted.compile_seconds > 0
    assert uninterrupted.train_seconds > 0


def test_settings_follow_the_step():
    def loss(params, example, *, key, settings):
        del key
        return scalar_estimate(jnp.vdot(params, example.target) * 0.0, beta=settings["beta"])

    started = partial(run, loss, zeros, DATA, optimiser=optax.sgd(0.0), key=jax.random.key(0))
    schedule = started(
        num_steps=8, log_every=1, settings=lambda step: {"beta": step.astype(jnp.float32) / 10}
    )
    np.testing.assert_allclose(
        [line["beta"] for line in schedule.history], np.arange(8) / 10, rtol=4 * EPS
    )
    constant = started(num_steps=3, settings={"beta": jnp.float32(0.3)})
    np.testing.assert_allclose(constant.history[0]["beta"], 0.3, rtol=4 * EPS)


def test_without_settings_the_loss_keeps_its_default():
    train_with = partial(train, key=jax.random.key(0), num_steps=6)
    default = train_with().params
    assert_identical(default, train_with(settings=jnp.float32(1.0)).params)
    changed = train_with(settings=jnp.float32(0.0)).params
    assert np.all(default["log_scale"] != changed["log_scale"])


def test_a_quadratic_loss_is_led_to_its_optimum():
    data = DATA[:24]  # whole epochs, so that steps of 1 / (2k) average the rows exactly
    found = run(
        quadratic,
        zeros,
        data,
        optimiser=optax.sgd(lambda count: 0.5 / (count + 1)),
        key=jax.random.key(0),
        num_steps=6 * 50,
    )
    np.testing.assert_allclose(found.params, np.mean(data, axis=0), atol=1e-5)
    assert found.history[-1]["bound"] > found.history[0]["bound"]


def test_training_probabilistic_pca_reaches_its_maximum_likelihood():
    theta = ppca.generative(jax.random.key(11))
    keys = jax.random.split(jax.random.key(12), 512)
    params = Params(theta, None)

    def draw(key):
        z_key, x_key = jax.random.split(key)
        z = ppca.model.prior(params, None).sample(z_key)
        return ppca.model.likelihood(params, z, None).sample(x_key)

    data = jax.vmap(draw)(keys)
    # Tipping and Bishop (1999), eq. 8: W spans the leading eigenvectors, s^2 averages the rest.
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(np.float64(data).T, bias=True)))[::-1]
    noise = eigenvalues[2:].mean()
    best = -0.5 * (5 * np.log(2 * np.pi) + np.log(eigenvalues[:2]).sum() + 3 * np.log(noise) + 5)
    assert best > np.mean(ppca.exact_log_evidence(theta, data))

    found = run(
        elbo,
        lambda key: ppca.model.init(jax.random.fold_in(key, 1)),
        data,
        batch_size=128,
        optimiser=optax.adam(optax.cosine_decay_schedule(5e-2, 600)),
        key=jax.random.key(13),
        num_steps=600,
        settings=objectives.ElboSettings(),
    )
    evidence = np.mean(ppca.exact_log_evidence(found.params.generative, data))
    assert best - 0.001 < evidence < best + 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps expected a positive integer, got 0"),
        ({"batch_size": 0}, "batch_size expected a positive integer, got 0"),
        ({"log_every": 0}, "log_every expected a positive integer, got 0"),
        ({"batch_size": 27}, "at least batch_size = 27 rows, got 26; reduce batch_size"),
        ({"data": (DATA, DATA[1:])}, r"one common number of rows, got shapes"),
        ({"data": (DATA, 3)}, r"one common number of rows, got shapes"),
        ({"held_out": DATA[:0]}, "number of held-out rows expected a positive integer, got 0"),
        ({"key": None}, "expected a key for fresh parameters"),
        ({"key": 0}, "expected a key for fresh parameters"),
        ({"key": np.zeros(2, np.uint32)}, "expected a key for fresh parameters"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, message):
    arguments = {"data": DATA, "num_steps": 1, "key": jax.random.key(0)} | options
    data = arguments.pop("data")
    with pytest.raises(ValueError, match=message):
        run(elbo, ppca.model.init, data, optimiser=COUNT, **arguments)


def test_a_state_has_its_own_key_and_takes_no_other():
    begun = train(key=jax.random.key(0), num_steps=1)
    with pytest.raises(ValueError, match="expected no key with a state"):
        run(noisy, begun.state, DATA, optimiser=COUNT, key=jax.random.key(1), num_steps=2)


def test_the_logged_mean_of_very_many_steps_keeps_its_digits():
    def constant(params, example, *, key):
        del example, key
        return scalar_estimate(jnp.float32(-102.37) + 0.0 * params[0])

    found = run(
        constant, zeros, DATA, optimiser=optax.sgd(0.0), key=jax.random.key(0), num_steps=40_000,
        log_every=40_000,
    )  # fmt: skip
    np.testing.assert_allclose(found.history[0]["bound"], np.float32(-102.37), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 10.5}, r"num_steps expected a positive integer, got 10\.5"),
        ({"log_every": 2.5}, r"log_every expected a positive integer, got 2\.5"),
        ({"num_steps": "10"}, "num_steps expected a positive integer, got '10'"),
        ({"optimiser": optax.adam}, "expected an optax optimiser, such as"),
        ({"optimiser": 1e-3}, "expected an optax optimiser, such as"),
        ({"init": {"w": 1.0}}, "expected a function from a key to parameters"),
        ({"on_failure": "ignore"}, "on_failure expected one of"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_arguments_of_the_wrong_kind_are_refused_in_words(options, message):
    arguments = {"init": zeros, "num_steps": 1, "optimiser": COUNT, "key": jax.random.key(0)}
    arguments |= options
    with pytest.raises(ValueError, match=message):
        run(quadratic, data=DATA, **arguments)
