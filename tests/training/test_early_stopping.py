"""Patience and the best parameters, on a bound that is known at every step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import DATA, run, scalar_estimate

from jaxvae.training import averaged_params, chosen_params, with_average

pytestmark = pytest.mark.usefixtures("quick_compilation")
# Gradient ascent on a slope moves the parameter by one each step.
STEP = optax.sgd(1.0)
PEAKS = np.float32([3.0, 11.0, 40.0])


def hill(params, example, *, key, settings=None):
    """Training climbs a slope without end; the held-out bound is highest at ``peak``."""
    del key, settings
    position, peak = params
    slope = position - jax.lax.stop_gradient(position)
    return scalar_estimate(slope)._replace(bound=-((position - peak) ** 2))


def climb(peaks, **options):
    peaks = jnp.asarray(peaks)
    hyper = {"peak": peaks}
    return run(
        hill,
        lambda key: (jnp.zeros(()), jnp.zeros(())),
        DATA,
        key=jax.random.key(0),
        held_out=DATA[:3],
        hyperparameters=hyper,
        optimiser=lambda h: optax.chain(STEP, put_peak(h["peak"])),
        log_every=2,
        **options,
    )


def put_peak(peak):
    """The peak is a hyperparameter that stands in the parameters from the first step on."""
    return optax.GradientTransformation(
        lambda params: optax.EmptyState(),
        lambda updates, state, params: ((updates[0], peak - params[1]), state),
    )


@pytest.mark.parametrize("patience", [1, 3])
def test_each_member_stops_when_its_own_patience_ends(patience):
    found = climb(PEAKS, patience=patience, num_steps=30)
    # Evaluated at 2, 4, 6 …: the nearest to the peak (the first of a tie), then patience more.
    best = [2, 10, 30]
    stopped = [2 + 2 * patience, 10 + 2 * patience, -1]
    np.testing.assert_array_equal(found.state.watch.best_step, best)
    np.testing.assert_array_equal(found.state.watch.stopped_at, stopped)
    np.testing.assert_array_equal(found.params[0], [*stopped[:2], 30])
    np.testing.assert_allclose(
        found.state.watch.best_bound, -((np.float32(best) - PEAKS) ** 2), rtol=1e-6
    )
    # A stopped member has no training bound any more.
    assert np.isnan(found.history[-1]["bound"]).tolist() == [True, True, False]


def test_training_ends_when_all_members_have_stopped():
    found = climb(PEAKS[:2], patience=2, num_steps=1000)
    assert found.history[-1]["step"] == 14
    assert int(found.state.step) == 14
    single = climb(PEAKS[1], patience=2, num_steps=1000)
    assert int(single.state.step) == 14


def test_the_best_parameters_come_with_their_own_optimiser_state():
    keep = partial(climb, keep_best=True, num_steps=30)
    found = keep(PEAKS)
    np.testing.assert_array_equal(chosen_params(found.state, "best")[0], [2, 10, 30])
    np.testing.assert_array_equal(chosen_params(found.state, "last")[0], [30, 30, 30])

    momentum = optax.chain(optax.trace(0.9), STEP)
    kept = run(
        hill_at_5, lambda key: jnp.zeros(()), DATA, key=jax.random.key(0), held_out=DATA[:3],
        optimiser=momentum, log_every=1, keep_best=True, num_steps=9,
    )  # fmt: skip
    step = int(kept.state.watch.best_step)
    there = run(
        hill_at_5, lambda key: jnp.zeros(()), DATA, key=jax.random.key(0), optimiser=momentum,
        num_steps=step,
    )  # fmt: skip
    assert 0 < step < 9
    jax.tree.map(
        np.testing.assert_array_equal,
        tuple(kept.state.watch.best),
        (there.params, there.state.optimiser),
    )


def hill_at_5(params, example, *, key):
    return hill((params, jnp.float32(5.0)), example, key=key)


def test_patience_needs_something_to_judge_by():
    for options in ({"patience": 2}, {"keep_best": True}):
        with pytest.raises(ValueError, match="expected held-out rows"):
            run(
                hill_at_5, lambda key: jnp.zeros(()), DATA, key=jax.random.key(0),
                optimiser=STEP, num_steps=3, **options,
            )  # fmt: skip
    with pytest.raises(ValueError, match="a fit with keep_best=True"):
        chosen_params(climb(PEAKS, num_steps=2).state, "best")


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_is_the_geometric_one_of_all_parameters(decay):
    found = run(
        hill_at_5, lambda key: jnp.zeros(()), DATA, key=jax.random.key(0),
        optimiser=with_average(STEP, decay), num_steps=12,
    )  # fmt: skip
    visited = np.arange(13)
    weights = np.where(visited == 0, 1.0, 1 - decay) * decay ** (12.0 - visited)
    np.testing.assert_allclose(weights.sum(), 1)
    np.testing.assert_allclose(
        chosen_params(found.state, "average"), np.sum(weights * visited), rtol=1e-5
    )
    assert found.params == 12


def test_the_average_must_be_there_and_its_decay_a_share():
    with pytest.raises(ValueError, match="expected an optimiser made by with_average"):
        averaged_params(STEP.init(jnp.zeros(())))
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match="expected a decay from 0 to below 1"):
            with_average(STEP, decay)
