"""What holds for every recurrence, and for the encoder made of it."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from partly_observed import same_observations, series

from jaxvae import nn, recipe
from jaxvae.nn.recurrence import gap_to, gaps, run

RECIPES = {
    "recurrent": partial(nn.recurrent, 2, 5),
    "gru": partial(nn.recurrent, 2, 5, cell=nn.gru_cell, with_gaps=False),
    "anticipating": partial(nn.anticipating, 2, 5),
    "ode_rnn": partial(nn.ode_rnn, 2, 5),
    "gru_decay": partial(nn.gru_decay, 2, 5, means=(0.5, -0.2)),
}
every_recurrence = pytest.mark.parametrize("name", RECIPES)
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


@cache
def encoder_of(name):
    encoder = nn.recurrent_encoder(recipe.build(RECIPES[name]), 3)
    # Off the special values of fresh parameters, such as biases of zero.
    fresh = jax.jit(encoder.init)(jax.random.key(0))
    return encoder, jax.tree.map(lambda leaf: leaf + 0.05, fresh)


@cache
def code_and_gradient(name):
    """The code of a series, and the gradient of what its numbers weighted by 1, 2, 3 add up to."""

    def weighted(params, values, times, mask, start):
        code = encoder_of(name)[0].apply(params, times, values, mask, start)
        return jnp.dot(code, jnp.arange(1.0, 4.0)), code

    differentiate = jax.jit(jax.value_and_grad(weighted, (0, 1), has_aux=True))

    def of_series(series, start):
        times, values, mask = series
        (_, code), gradient = differentiate(encoder_of(name)[1], values, times, mask, start)
        return code, gradient

    return of_series


@cache
def by_hand(name):
    """A loop over the rows with an observation."""
    recurrence = recipe.build(RECIPES[name])
    evolve, update = jax.jit(recurrence.evolve), jax.jit(recurrence.update)

    def loop(params, times, values, mask, end):
        state, last, past = recurrence.initial(values.dtype), None, []

        def gap(time):
            return jnp.zeros(()) if last is None else jnp.abs(time - last)

        for time, x, m in zip(times, values, mask, strict=True):
            evolved = evolve(params, state, gap(time))
            past.append(recurrence.read(evolved))
            if m.any():
                state, last = update(params, evolved, recurrence.row(x, m, gap(time))), time
        return (
            state,
            jnp.stack(past) if past else None,
            recurrence.read(evolve(params, state, gap(end))),
        )

    return loop


def test_gaps_are_counted_from_the_last_observed_row():
    times = jnp.array([0.0, 1.0, 3.0, 7.0, 7.0])
    observed = jnp.array([False, True, False, True, False])
    np.testing.assert_array_equal(gaps(times, observed), [0.0, 0.0, 2.0, 6.0, 0.0])
    np.testing.assert_array_equal(gaps(-times, observed), gaps(times, observed))
    np.testing.assert_array_equal(gaps(times, jnp.zeros(5, bool)), 0.0)
    np.testing.assert_array_equal(gap_to(jnp.array(9.5), times, observed), 2.5)
    np.testing.assert_array_equal(gap_to(jnp.array(9.5), times, jnp.zeros(5, bool)), 0.0)


@every_recurrence
def test_the_scan_is_a_loop_over_the_observed_rows(name):
    _, params = encoder_of(name)
    recurrence = recipe.build(RECIPES[name])
    got = jax.jit(partial(run, recurrence))(params["recurrence"], *series())
    *expected, _ = by_hand(name)(params["recurrence"], *series(), 9.0)
    jax.tree.map(close, got, tuple(expected))
    assert got[1].shape == (7, recurrence.features)


@every_recurrence
def test_an_encoder_reads_the_rows_from_the_last_to_the_first(name):
    _, params = encoder_of(name)
    codes = []
    for start in (-1.4, series().times[0]):
        backwards = [x[::-1] for x in series()]
        *_, features = by_hand(name)(params["recurrence"], *backwards, start)
        head = params["head"]["layers"][0]
        codes.append(code_and_gradient(name)(series(), start)[0])
        close(codes[-1], features @ head["kernel"] + head["bias"])
    # A gated unit without gaps is alone in knowing nothing of time.
    assert (np.abs(codes[0] - codes[1]).max() > 1e-4) == (name != "gru")


@every_recurrence
@pytest.mark.parametrize("start", [-1.4, 1.0, 9.0])
def test_a_two_sided_encoder_reads_both_sides_towards_the_start(name, start):
    encoder = nn.two_sided_encoder(recipe.build(RECIPES[name]), 3)
    params = jax.tree.map(lambda leaf: leaf + 0.05, jax.jit(encoder.init)(jax.random.key(0)))
    times, values, mask = series()
    earlier = np.asarray(times) < start
    sides = {
        "before": [x[earlier] for x in (times, values, mask)],
        "after": [x[~earlier][::-1] for x in (times, values, mask)],
    }
    features = []
    for side, rows in sides.items():
        *_, last = by_hand(name)(params[side], *rows, start)
        features.append(last)
    head = params["head"]["layers"][0]
    code = jax.jit(encoder.apply)(params, times, values, mask, start)
    close(code, jnp.concatenate(features) @ head["kernel"] + head["bias"])


def test_without_a_start_an_encoder_ends_at_the_first_observed_row():
    encoder, params = encoder_of("recurrent")
    code, _ = code_and_gradient("recurrent")(series(), series().times[0])
    np.testing.assert_array_equal(jax.jit(encoder.apply)(params, *series()), code)


@every_recurrence
def test_nothing_but_the_observations_matters(name):
    code, (gradient, _) = code_and_gradient(name)(series(), -1.4)
    for other in same_observations().values():
        other_code, (other_gradient, _) = code_and_gradient(name)(other, -1.4)
        np.testing.assert_array_equal(other_code, code)
        jax.tree.map(close, other_gradient, gradient)


@every_recurrence
def test_every_observation_matters_and_nothing_else_does(name):
    _, (_, gradient) = code_and_gradient(name)(series(), -1.4)
    np.testing.assert_array_equal(gradient != 0, series().mask)


@every_recurrence
def test_vmap_is_one_after_another(name):
    encoder, params = encoder_of(name)
    times, values, mask = series()
    full = series(full=True)
    batch = [jnp.stack(pair) for pair in zip((2.0 * times, values, mask), full, strict=True)]
    together = jax.jit(jax.vmap(encoder.apply, (None, 0, 0, 0, None)))(params, *batch, -1.4)
    apart = [code_and_gradient(name)([x[i] for x in batch], -1.4)[0] for i in range(2)]
    close(together, jnp.stack(apart))


@every_recurrence
def test_an_encoder_has_a_recipe(name):
    encoder, params = encoder_of(name)
    kept = recipe.to_json(partial(nn.recurrent_encoder, RECIPES[name], 3))
    again = recipe.build(recipe.from_json(kept))
    programs = [jax.make_jaxpr(network.apply)(params, *series()) for network in (encoder, again)]
    assert str(programs[0]) == str(programs[1])


@every_recurrence
def test_float64_stays_float64(name):
    encoder, params = encoder_of(name)
    with jax.enable_x64(True):
        params, (times, values) = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float64), (params, series()[:2])
        )
        code = jax.eval_shape(encoder.apply, params, times, values, series().mask)
        assert code.dtype == jnp.float64


def test_arrays_that_do_not_fit_are_refused():
    encoder, params = encoder_of("recurrent")
    times, values, mask = series()
    with pytest.raises(ValueError, match=r"the values of a series expected .*\(7, 2\), got \(7, 1"):
        encoder.apply(params, times, values[:, :1], mask[:, :1])
    with pytest.raises(ValueError, match=r"out_dim of nn\.recurrent_encoder expected a positive"):
        nn.recurrent_encoder(recipe.build(RECIPES["recurrent"]), 0)


def test_times_have_fractions(without_type_checks):
    times, values, mask = series()
    encoder, params = encoder_of("recurrent")
    with pytest.raises(ValueError, match="times of a series expected floating-point numbers, got"):
        encoder.apply(params, times.astype(int), values, mask, 4.5)
