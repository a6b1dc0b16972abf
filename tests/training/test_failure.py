import json
import re
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
    BATCH,
    DATA,
    EPS,
    ROWS,
    assert_identical,
    key_number,
    quadratic,
    run,
    scalar_estimate,
    zeros,
)

from jaxvae.model import Params
from jaxvae.training import InterruptedStepError, NonFiniteError, initial_state, open_run, replay
from jaxvae.training.state import Purpose, purpose_key


def poisoned(params, example, *, key, settings):
    """A loss whose value, or else only its gradient, is not finite any more from some step on."""
    step, first_bad = settings
    estimate = quadratic(params.inference, example, key=key)
    value = jnp.where(step >= first_bad["surrogate"], jnp.inf, 0.0)
    bad = step >= first_bad["gradient"]
    # The root's value at 0 is 0, and its slope is not finite.
    root = jnp.sqrt(jnp.where(bad, 0.0, 1.0) * jnp.sum(params.inference**2))
    return estimate._replace(surrogate=estimate.surrogate + value + jnp.where(bad, root, 0.0))


def bad_from(**first_bad):
    """The steps from which on the value or the gradient is bad, as arguments of one program."""
    return {name: np.int32(first_bad.get(name, 99)) for name in ("surrogate", "gradient")}


def init(key):
    return Params(generative=jnp.ones(2), inference=zeros(key) + 1.0)


@dataclass(frozen=True)
class Config:
    epochs: int = 1


pytestmark = pytest.mark.usefixtures("quick_compilation")
start = partial(run, optimiser=optax.sgd(0.1), key=jax.random.key(0), settings=lambda step: step)
poison = partial(
    run, poisoned, init, DATA, num_steps=20, optimiser=optax.sgd(0.1), key=jax.random.key(0),
    settings=lambda step, first_bad: (step, first_bad),
)  # fmt: skip


@pytest.mark.parametrize("bad_step", [0, 5, 6, 13])
@pytest.mark.parametrize(
    ("quantity", "said"),
    [("surrogate", "the surrogate"), ("gradient", "the gradient of inference")],
)
def test_the_first_step_that_is_not_finite_is_found_with_quantity_and_state(
    bad_step, quantity, said
):
    bad = bad_from(**{quantity: bad_step})
    with pytest.raises(NonFiniteError, match=rf"^{said} was not finite at step {bad_step};") as met:
        poison(hyperparameters=bad)
    failure = met.value.failure
    assert failure.step == int(failure.state.step) == bad_step
    assert np.all(np.isfinite(failure.state.params.inference))
    if bad_step:
        before = poison(hyperparameters=bad, num_steps=bad_step)
        assert_identical(before.state[:4], failure.state[:4])
    # The batch is that of the step: its rows are where the order of the epoch says.
    epoch, batch = divmod(bad_step, ROWS // BATCH)
    order = jnp.argsort(
        jax.random.bits(purpose_key(jax.random.key(0), Purpose.ORDER, epoch), (ROWS,))
    )
    np.testing.assert_array_equal(failure.rows, DATA[order[BATCH * batch :][:BATCH]])


def test_an_update_that_overflows_is_blamed_not_the_step_that_meets_it():
    def explode(step):
        return jnp.where(step >= 7, 1e38, 0.1)

    with pytest.raises(NonFiniteError, match=r"^the update of inference was not finite at step 7;"):
        start(
            lambda params, example, *, key, settings: quadratic(params.inference, example, key=key),
            init, 1e5 * DATA, num_steps=20, optimiser=optax.sgd(explode),
        )  # fmt: skip


def test_parameters_that_touch_no_surrogate_are_watched_too():
    def loss(params, example, *, key, settings):
        return quadratic(params.inference, example, key=key)

    def spoil(updates, state, params=None):
        # What no gradient shows: the optimiser itself writes a NaN at its fifth step.
        generative = jnp.where(state >= 4, jnp.nan, 0.0) * jnp.ones(2)
        return Params(generative, updates.inference), state + 1

    spoiling = optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), spoil)
    with pytest.raises(NonFiniteError, match=r"^the update of generative .* at step 4;"):
        start(loss, init, DATA, num_steps=20, optimiser=spoiling)


def test_halting_keeps_the_state_before_the_step():
    bad = bad_from(gradient=9)
    halted = poison(hyperparameters=bad, on_failure="halt")
    assert_identical(halted.state[:4], poison(hyperparameters=bad, num_steps=9).state[:4])
    assert int(halted.state.watch.failed_at) == 9
    # Asked to go on, it stands still.
    again = run(
        poisoned, halted.state, DATA, num_steps=20, on_failure="halt", hyperparameters=bad,
        optimiser=optax.sgd(0.1), settings=poison.keywords["settings"],
    )  # fmt: skip
    assert_identical(again.params, halted.params)
    assert again.history == []


def test_skipping_leaves_out_the_bad_updates_and_counts_them():
    def loss(params, example, *, key, settings):
        estimate = quadratic(params.inference, example, key=key)
        bad = (settings == 3) | (settings == 8)
        return estimate._replace(surrogate=estimate.surrogate * jnp.where(bad, jnp.nan, 1.0))

    def sometimes(step):
        return jnp.where((step == 3) | (step == 8), 0.0, 0.1)

    skipped = start(loss, init, DATA, num_steps=12, log_every=12, on_failure="skip")
    plain = poison(
        hyperparameters=bad_from(), num_steps=12, log_every=12, optimiser=optax.sgd(sometimes)
    )
    # Each of twelve steps rounds parameters below 4 in size.
    np.testing.assert_allclose(
        skipped.params.inference, plain.params.inference, rtol=0, atol=12 * 4 * EPS
    )
    assert skipped.history[-1]["skipped_updates"] == 2
    assert np.isfinite(skipped.history[-1]["bound"])


def frail(params, example, *, key, settings):
    """The parameter is the step from which on its member is bad."""
    del example, key
    return scalar_estimate(jnp.where(settings >= params, jnp.nan, 0.0 * params))


def frail_init(key):
    return jnp.floor(1 + 18 * key_number(key))


def frailty(**options):
    return run(
        frail,
        frail_init,
        DATA,
        optimiser=optax.sgd(0.0),
        key=jax.random.split(jax.random.key(1), 3),
        log_every=20,
        settings=lambda step: step.astype(jnp.float32),
        **options,
    )


def test_the_member_that_fails_first_is_named_with_its_own_step():
    limits = np.asarray(frailty(num_steps=1).params)
    first = np.argmin(limits)
    assert first != 0
    with pytest.raises(NonFiniteError, match=rf"of member {first} .*step {int(limits[first])};"):
        frailty(num_steps=20)


def test_members_halt_one_by_one_and_the_others_are_as_if_nothing_had_happened(capsys):
    keys = jax.random.split(jax.random.key(5), 3)

    def loss(params, example, *, key, settings):
        # One member meets a NaN at step 7, which must not leak.
        estimate = quadratic(params[0], example, key=key)
        bad = (settings >= 7) & (params[1] > 0)
        return estimate._replace(surrogate=estimate.surrogate + jnp.where(bad, jnp.nan, 0.0))

    state = initial_state(
        lambda key: (jax.random.normal(key, (5,)), jnp.zeros(())), optax.adam(1e-2), keys
    )
    marked = state._replace(params=(state.params[0], jnp.array([0.0, 1.0, 0.0])))
    go = partial(run, loss, data=DATA, on_failure="halt", optimiser=optax.adam(1e-2),
                 settings=lambda step: step)  # fmt: skip
    healthy, hurt = go(init=state, num_steps=20), go(init=marked, num_steps=20)
    for member in (0, 2):
        for a, b in zip(
            jax.tree.leaves(healthy.params[0]), jax.tree.leaves(hurt.params[0]), strict=True
        ):
            np.testing.assert_array_equal(a[member], b[member])
    before = go(init=state, num_steps=7)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a[1], b[1]), hurt.params[0], before.params[0]
    )
    np.testing.assert_array_equal(hurt.state.watch.failed_at, [-1, 7, -1])
    assert np.isnan(hurt.history[-1]["bound"]).tolist() == [False, True, False]
    assert "halted: the surrogate of member 1 was not finite at step 7" in capsys.readouterr().out


def poisonous_row(params, example, *, key, settings):
    """Rows with a first entry above 2.5 take the logarithm of something negative."""
    del settings
    estimate = quadratic(params.inference, example, key=key)
    return estimate._replace(surrogate=estimate.surrogate + jnp.log(2.5 - example.target[0]))


def test_replaying_a_failure_names_the_row_and_the_operation(tmp_path):
    data = DATA.at[17, 0].set(3.0)
    options = {"optimiser": optax.adam(0.1), "settings": lambda step: step}
    with open_run(tmp_path / "run", Config()) as folder, pytest.raises(NonFiniteError) as met:
        run(poisonous_row, init, data, key=jax.random.key(0), num_steps=12, run=folder, **options)
    failure = met.value.failure
    assert f"saved in {tmp_path / 'run' / 'failure'}" in str(met.value)
    (row,) = np.flatnonzero(np.asarray(failure.rows)[:, 0] == 3.0)
    for kept in (failure, tmp_path / "run"):
        found = replay(kept, poisonous_row, init, data, **options)
        assert found.bad_rows == [row]
        assert np.isnan(found.surrogates[row])
        assert np.all(np.isfinite(np.delete(found.surrogates, row)))
        assert not found.finite["surrogate"]
        assert found.finite["gradient of generative"]
        assert "jnp.log(2.5 - example.target[0])" in found.trace
        assert f"at step {failure.step}" in str(found)


def test_replay_says_when_there_is_nothing_to_replay(tmp_path):
    with pytest.raises(ValueError, match=r"found no failure/failure\.json"):
        replay(tmp_path, poisonous_row, init, DATA, optimiser=optax.sgd(0.1))


@pytest.mark.parametrize("bad_step", [0, 6])
def test_a_member_alone_may_halt_at_the_first_step_of_a_line(bad_step):
    bad = bad_from(surrogate=bad_step)
    halted = poison(hyperparameters=bad, log_every=6, on_failure="halt")
    assert int(halted.state.step) == bad_step
    assert [record["step"] for record in halted.history] == [bad_step][: bad_step // 6]


def test_what_skipping_could_not_bear_is_blamed_where_the_parameters_were_spoilt(monkeypatch):
    monkeypatch.setattr("jaxvae.training.optimiser.CONSECUTIVE_SKIPS", 3)
    with pytest.raises(NonFiniteError, match=r"^the update of inference .* at step 8;"):
        poison(hyperparameters=bad_from(gradient=5), on_failure="skip")


def test_an_infinite_optimiser_state_is_no_failure():
    plateau = optax.contrib.reduce_on_plateau(accumulation_size=50)
    found = poison(
        hyperparameters=bad_from(), num_steps=8, optimiser=optax.chain(optax.sgd(0.1), plateau)
    )
    assert np.any([np.any(np.isinf(leaf)) for leaf in jax.tree.leaves(found.state.optimiser)])


def test_members_that_halt_in_one_chunk_keep_a_failure_each(tmp_path):
    with open_run(tmp_path / "run", Config()) as folder:
        halted = frailty(num_steps=20, on_failure="halt", run=folder)
    steps = np.asarray(halted.state.watch.failed_at)
    about = [
        json.loads((tmp_path / "run" / "failure" / f"member_{i}" / "failure.json").read_text())
        for i in range(3)
    ]
    assert [entry["step"] for entry in about] == steps.tolist()


@pytest.mark.parametrize("bad_step", [0, 13])
def test_an_error_within_a_step_is_told_in_a_line_and_costs_nothing(tmp_path, bad_step):
    def loss(params, example, *, key, settings, limit):
        estimate = quadratic(params.inference, example, key=key)
        checked = eqx.error_if(estimate.surrogate, settings >= limit, "the solve has failed")
        return estimate._replace(surrogate=checked)

    options = {"num_steps": 20, "log_every": 10}
    with (
        open_run(tmp_path / "run", Config()) as folder,
        pytest.raises(InterruptedStepError, match=r"the solve has failed$") as met,
    ):
        start(partial(loss, limit=bad_step), init, DATA, run=folder, **options)
    first, stop = map(int, re.findall(r"between steps (\d+) and (\d+) ", str(met.value))[0])
    assert first <= bad_step < stop
    assert f"the state at step {first} is saved" in str(met.value)
    with open_run(tmp_path / "run", Config(), resume=True) as folder:
        resumed = start(partial(loss, limit=99), init, DATA, run=folder, **options)
    whole = start(partial(loss, limit=99), init, DATA, **options)
    assert_identical(resumed.params, whole.params)


def test_other_errors_within_a_step_stay_what_they_are():
    def refuse(step):
        raise TypeError("not told by a solve")

    def loss(params, example, *, key, settings):
        estimate = quadratic(params.inference, example, key=key)
        zero = jax.pure_callback(refuse, estimate.surrogate, settings)
        return estimate._replace(surrogate=estimate.surrogate + jax.lax.stop_gradient(zero))

    with pytest.raises(Exception, match="not told by a solve") as met:
        start(loss, init, DATA, num_steps=2)
    assert not isinstance(met.value, InterruptedStepError)
