"""What each draw is credited with, number by number."""

from functools import cache

import jax
import known_draws
import numpy as np
import pytest

from jaxvae import objectives

ROWS = {
    "two": [0.3, -1.2],
    "eight": [0.1, -3.0, 2.5, 0.0, -0.7, 1.1, -8.0, 0.4],
    "large": [-4000.0, -4003.0, -4001.5],
    "one without weight": [0.2, -np.inf, -1.0, 0.7],
    "two without weight": [-np.inf, 0.4, -np.inf, -2.0],
    "one with weight": [-np.inf, 0.4, -np.inf],
}


@cache
def compiled(objective, options):
    @jax.jit
    @jax.grad
    def slope(scores, log_weights):
        estimate = objective(
            known_draws.MODEL,
            known_draws.PARAMS,
            known_draws.EXAMPLE,
            key=jax.random.key(0),
            num_samples=len(log_weights),
            gradient=known_draws.weighing(log_weights, scores),
            **dict(options),
        )
        return estimate.surrogate

    return slope


def signals(objective, rows, **options):
    """The number that the score of each draw is multiplied by, the bound's own derivative aside."""

    slope = compiled(objective, tuple(options.items()))
    got = np.asarray(slope(np.zeros(len(rows), np.float32), np.float32(rows)))
    # An importance-weighted bound falls by its share of each log q.
    return got + np.exp(rows - np.logaddexp.reduce(rows)) if objective is objectives.iwae else got


def guessed(rows, place):
    """The mean of the other rows."""
    return np.mean(np.delete(rows, place))


def log_mean_exp(rows):
    largest = np.max(rows)
    return largest + np.log(np.mean(np.exp(rows - largest))) if largest > -np.inf else -np.inf


@pytest.mark.parametrize("name", ["two", "eight", "large"])
def test_leave_one_out_subtracts_the_mean_of_the_other_draws(name):
    rows = np.array(ROWS[name])
    expected = [(row - guessed(rows, place)) / len(rows) for place, row in enumerate(rows)]
    options = {"kl": objectives.monte_carlo, "baseline": objectives.leave_one_out}
    got = signals(objectives.elbo, rows, **options)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7 * np.max(np.abs(rows)))


@pytest.mark.parametrize("name", ROWS)
def test_vimco_replaces_each_weight_by_the_geometric_mean_of_the_others(name):
    rows = np.array(ROWS[name])
    baselines = [
        log_mean_exp(np.where(np.arange(len(rows)) == place, guessed(rows, place), rows))
        for place in range(len(rows))
    ]
    # Where all others weigh nothing there is nothing to subtract.
    expected = log_mean_exp(rows) - np.where(np.isneginf(baselines), 0.0, baselines)
    got = signals(objectives.iwae, rows, baseline=objectives.leave_one_out)
    np.testing.assert_allclose(
        got, expected, rtol=1e-5, atol=2e-7 * np.max(np.abs(rows[rows > -9e9]))
    )


def test_without_a_baseline_each_draw_earns_its_own_term_or_the_whole_bound():
    rows = np.array(ROWS["eight"])
    got = signals(objectives.elbo, rows, kl=objectives.monte_carlo)
    np.testing.assert_allclose(got, rows / 8, rtol=1e-6)
    got = signals(objectives.iwae, rows)
    np.testing.assert_allclose(got, np.full(8, log_mean_exp(rows)), rtol=1e-6)
