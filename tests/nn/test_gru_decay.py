from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from partly_observed import series

from jaxvae import nn
from jaxvae.nn.recurrence import run

pytestmark = pytest.mark.usefixtures("quick_compilation")

CHANNELS, HIDDEN = 2, 4
MEANS = (0.5, -0.2)


RECURRENCE = nn.gru_decay(CHANNELS, HIDDEN, means=MEANS)
OBSERVED = [np.asarray(x)[np.asarray(series().mask).any(axis=1)] for x in series()]


@cache
def fresh():
    return jax.jit(RECURRENCE.init)(jax.random.key(0))


@jax.jit
def after(params, rows):
    return run(RECURRENCE, params, *rows)[0]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_d(params, times, values, mask):
    """Che et al., eqs. 3 to 5 and 10 to 13, for series without empty rows, in float64."""
    p = jax.tree.map(np.float64, params)
    h, last, since, before = np.zeros(HIDDEN), np.array(MEANS), np.zeros(CHANNELS), times[0]
    for t, x, m in zip(times, values, mask, strict=True):
        since = since + (t - before)
        h = h * np.exp(-np.maximum(0, since @ p["hidden_rate"] + p["hidden_bias"]))
        decay = np.exp(-np.maximum(0, p["value_rate"] * since + p["value_bias"]))
        x_hat = np.where(m, x, decay * last + (1 - decay) * np.array(MEANS))
        from_x = np.concatenate([x_hat, m]) @ p["cell"]["input"] + p["cell"]["bias"]
        from_h = h @ p["cell"]["recurrent"]
        (r, u, n), (hr, hu, hn) = np.split(from_x, 3), np.split(from_h, 3)
        u = sigmoid(u + hu)
        h = (1 - u) * np.tanh(n + sigmoid(r + hr) * hn) + u * h
        last, since, before = np.where(m, x, last), np.where(m, 0.0, since), t
    return h


def test_it_is_that_of_the_paper_on_rows_with_an_observation():
    # Some rates negative, so that the maximum matters.
    params = fresh() | {
        "hidden_bias": jnp.array([0.3, -0.9, 0.0, 0.1]),
        "value_bias": jnp.array([0.2, -1]),
    }
    expected = gru_d(params, *map(np.float64, OBSERVED))
    np.testing.assert_allclose(after(params, OBSERVED).hidden, expected, rtol=1e-5, atol=1e-6)


def test_with_everything_observed_and_no_decay_it_is_a_gru():
    params = fresh() | {"hidden_rate": jnp.zeros((CHANNELS, HIDDEN))}
    plain = nn.recurrent(CHANNELS, HIDDEN, cell=nn.gru_cell, with_gaps=False)
    rows = [np.asarray(x)[: len(OBSERVED[0])] for x in series(full=True)]
    expected, _ = jax.jit(lambda p: run(plain, p, *map(jnp.asarray, rows)))(params["cell"])
    np.testing.assert_allclose(after(params, rows).hidden, expected, rtol=1e-5, atol=1e-6)


def test_while_nothing_is_seen_state_and_values_fade():
    params = fresh()

    @jax.jit
    def unseen(params, state):
        row = RECURRENCE.row(jnp.zeros(CHANNELS), jnp.zeros(CHANNELS, bool), jnp.zeros(()))
        return RECURRENCE.update(params, state, row).hidden

    later = jax.jit(RECURRENCE.evolve)(params, after(params, OBSERVED), 1e4)
    np.testing.assert_array_equal(later.hidden, 0.0)
    # What was last seen counts for nothing by then: the mean takes its place.
    forgetful = later._replace(last=jnp.full(CHANNELS, 77.0))
    got = [unseen(params, state) for state in (later, forgetful)]
    np.testing.assert_array_equal(got[0], got[1])


def test_fresh_rates_are_not_negative_so_that_all_of_them_learn():
    params = fresh()
    assert np.all(params["hidden_rate"] >= 0)
    assert np.all(params["value_rate"] >= 0)


def test_one_mean_for_each_channel():
    with pytest.raises(ValueError, match=r"one mean for each of 2 channels, got 3"):
        nn.gru_decay(2, 4, means=(0.0, 0.0, 0.0))
    default = nn.gru_decay(2, 4).initial(jnp.float32)
    np.testing.assert_array_equal(default.last, [0.0, 0.0])
