"""What holds for every recurrence and the encoders made of it, and the cells that they run."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from partly_observed import same_observations, series

from jaxvae import nn, recipe
from jaxvae.nn.recurrence import gap_to, gaps, run

pytestmark = pytest.mark.usefixtures("quick_compilation")

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
    """An encoder, a two-sided one, and their parameters, those of one side twice."""
    recurrence = recipe.build(RECIPES[name])
    encoder, two_sided = (
        make(recurrence, 3) for make in (nn.recurrent_encoder, nn.two_sided_encoder)
    )
    # Off the special values of fresh parameters, such as biases of zero.
    params = jax.tree.map(lambda leaf: leaf + 0.05, jax.jit(encoder.init)(jax.random.key(0)))
    other = jax.tree.map(lambda leaf: 0.9 * leaf, params["recurrence"])
    layer = params["head"]["layers"][0]
    kernel = np.concatenate([layer["kernel"], -0.5 * layer["kernel"]])
    both = {
        "before": other,
        "after": params["recurrence"],
        "head": {"layers": {0: layer | {"kernel": jnp.asarray(kernel)}}},
    }
    return encoder, two_sided, params, both


@cache
def compiled(name):
    """Of a series: state and features of its rows, its codes, and the gradient of one of them.

    The gradient is that of the code's numbers weighted by 1, 2, 3, by parameters and values.
    """
    recurrence = recipe.build(RECIPES[name])
    encoder, two_sided, params, both = encoder_of(name)

    @jax.jit
    def everything(params, both, series, start):
        times, values, mask = series

        def weighted(params, values):
            code = encoder.apply(params, times, values, mask, start)
            return jnp.dot(code, jnp.arange(1.0, 4.0)), code

        gradient, code = jax.grad(weighted, (0, 1), has_aux=True)(params, values)
        rows = run(recurrence, params["recurrence"], *series)
        return rows, code, gradient, two_sided.apply(both, *series, start)

    return lambda series, start: everything(params, both, series, jnp.float32(start))


@cache
def one_row(name):
    """The features before a row, and the state after it."""
    recurrence = recipe.build(RECIPES[name])

    @jax.jit
    def step(params, state, values, mask, gap):
        evolved = recurrence.evolve(params, state, gap)
        row = recurrence.row(values, mask, gap)
        return recurrence.read(evolved), recurrence.update(params, evolved, row)

    return step


def by_hand(name, params, rows, end):
    """State and features of a loop over the rows with an observation; the features at the end."""
    recurrence, step = recipe.build(RECIPES[name]), one_row(name)
    state, last, past = recurrence.initial(jnp.float32), None, []

    def gap(time):
        return np.float32(0 if last is None else np.abs(time - last))

    for time, x, m in zip(*map(np.asarray, rows), strict=True):
        features, updated = step(params, state, np.where(m, x, np.float32(0)), m, gap(time))
        past.append(features)
        if m.any():
            state, last = updated, time
    nothing = np.zeros(2, np.float32), np.zeros(2, bool)
    features, _ = step(params, state, *nothing, gap(np.float32(end)))
    return state, np.stack(past) if past else None, features


def test_gaps_are_counted_from_the_last_observed_row():
    times = jnp.array([0.0, 1.0, 3.0, 7.0, 7.0])
    observed, nothing = jnp.array([False, True, False, True, False]), jnp.zeros(5, bool)

    @jax.jit
    def of(times, observed):
        return gaps(times, observed), gap_to(jnp.array(9.5), times, observed)

    passed, to_end = of(times, observed)
    np.testing.assert_array_equal(passed, [0.0, 0.0, 2.0, 6.0, 0.0])
    np.testing.assert_array_equal(to_end, 2.5)
    np.testing.assert_array_equal(of(-times, observed)[0], passed)
    for zero in of(times, nothing):
        np.testing.assert_array_equal(zero, 0.0)


@every_recurrence
def test_the_scan_is_a_loop_over_the_observed_rows(name):
    _, _, params, _ = encoder_of(name)
    got = compiled(name)(series(), -1.4)[0]
    *expected, _ = by_hand(name, params["recurrence"], series(), 9.0)
    jax.tree.map(close, got, tuple(expected))
    assert got[1].shape == (7, recipe.build(RECIPES[name]).features)


@every_recurrence
def test_an_encoder_reads_the_rows_from_the_last_to_the_first(name):
    _, _, params, _ = encoder_of(name)
    codes, head = [], params["head"]["layers"][0]
    for start in (-1.4, series().times[0]):
        backwards = [x[::-1] for x in series()]
        *_, features = by_hand(name, params["recurrence"], backwards, start)
        codes.append(np.asarray(compiled(name)(series(), start)[1]))
        close(codes[-1], np.asarray(features) @ head["kernel"] + head["bias"])
    # A gated unit without gaps is alone in knowing nothing of time.
    assert (np.abs(codes[0] - codes[1]).max() > 1e-4) == (name != "gru")


@every_recurrence
def test_a_two_sided_encoder_reads_both_sides_towards_the_start(name):
    _, two_sided, _, params = encoder_of(name)
    shapes = jax.eval_shape(two_sided.init, jax.random.key(0))
    jax.tree.map(
        lambda fresh, ours: np.testing.assert_equal(fresh.shape, ours.shape), shapes, params
    )
    rows, head = tuple(map(np.asarray, series())), params["head"]["layers"][0]
    for start in (-1.4, 1.0, 9.0):
        earlier = rows[0] < start
        sides = {"before": [x[earlier] for x in rows], "after": [x[~earlier][::-1] for x in rows]}
        features = [by_hand(name, params[side], sides[side], start)[2] for side in sides]
        code = compiled(name)(series(), start)[3]
        close(code, np.concatenate(features) @ head["kernel"] + head["bias"], err_msg=start)


def test_without_a_start_an_encoder_ends_at_the_first_observed_row():
    encoder, _, params, _ = encoder_of("recurrent")
    code = compiled("recurrent")(series(), series().times[0])[1]
    close(jax.jit(encoder.apply)(params, *series()), code)


@every_recurrence
def test_nothing_but_the_observations_matters(name):
    _, code, (gradient, _), _ = compiled(name)(series(), -1.4)
    for other in same_observations().values():
        _, other_code, (other_gradient, _), _ = compiled(name)(other, -1.4)
        np.testing.assert_array_equal(other_code, code)
        jax.tree.map(close, other_gradient, gradient)


@every_recurrence
def test_every_observation_matters_and_nothing_else_does(name):
    _, _, (_, gradient), _ = compiled(name)(series(), -1.4)
    np.testing.assert_array_equal(np.asarray(gradient) != 0, series().mask)


@every_recurrence
def test_vmap_is_one_after_another(name):
    encoder, _, params, _ = encoder_of(name)
    times, values, mask = series()
    batch = [
        np.stack(pair) for pair in zip((2.0 * times, values, mask), series(full=True), strict=True)
    ]
    together = jax.jit(jax.vmap(encoder.apply, (None, 0, 0, 0, None)))(params, *batch, -1.4)
    for row, code in enumerate(together):
        close(code, compiled(name)(type(series())(*(x[row] for x in batch)), -1.4)[1])


@every_recurrence
def test_an_encoder_has_a_recipe(name):
    encoder, _, params, _ = encoder_of(name)
    kept = recipe.to_json(partial(nn.recurrent_encoder, RECIPES[name], 3))
    again = recipe.build(recipe.from_json(kept))
    programs = [jax.make_jaxpr(network.apply)(params, *series()) for network in (encoder, again)]
    assert str(programs[0]) == str(programs[1])


@every_recurrence
def test_float64_stays_float64(name):
    encoder, _, params, _ = encoder_of(name)
    with jax.enable_x64(True):
        params, (times, values) = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float64), (params, series()[:2])
        )
        code = jax.eval_shape(encoder.apply, params, times, values, series().mask)
        assert code.dtype == jnp.float64


def test_arrays_that_do_not_fit_are_refused():
    encoder, _, params, _ = encoder_of("recurrent")
    times, values, mask = map(np.asarray, series())
    with pytest.raises(ValueError, match=r"the values of a series expected .*\(7, 2\), got \(7, 1"):
        jax.eval_shape(encoder.apply, params, times, values[:, :1], mask[:, :1])
    with pytest.raises(ValueError, match=r"out_dim of nn\.recurrent_encoder expected a positive"):
        nn.recurrent_encoder(recipe.build(RECIPES["recurrent"]), 0)


def test_times_have_fractions(without_type_checks):
    times, values, mask = map(np.asarray, series())
    encoder, _, params, _ = encoder_of("recurrent")
    with pytest.raises(ValueError, match="times of a series expected floating-point numbers, got"):
        jax.eval_shape(encoder.apply, params, times.astype(int), values, mask, 4.5)


FLAX = {"rnn": (nn.rnn_cell, nnx.SimpleCell, 1), "gru": (nn.gru_cell, nnx.GRUCell, 3)}
both_cells = pytest.mark.parametrize(("factory", "module", "blocks"), FLAX.values(), ids=FLAX)


@both_cells
def test_a_cell_is_that_of_flax(factory, module, blocks):
    cell = factory(3, 5)
    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    draw = np.random.default_rng(0).normal
    params = jax.tree.map(lambda leaf: draw(size=leaf.shape).astype(np.float32), shapes)
    h, x = draw(size=5).astype(np.float32), np.array([0.3, -2.0, 1.0], np.float32)

    @jax.jit
    def of_flax(params, h, x):
        theirs = module(3, 5, rngs=nnx.Rngs(0))
        theirs.dense_i.kernel[...] = params["input"]
        theirs.dense_i.bias[...] = params["bias"]
        theirs.dense_h.kernel[...] = params["recurrent"]
        return theirs(h, x)[0]

    expected = of_flax(params, h, x)
    np.testing.assert_allclose(jax.jit(cell.apply)(params, h, x), expected, rtol=1e-5, atol=1e-6)


@both_cells
def test_fresh_recurrent_blocks_are_rotations_and_inputs_keep_their_variance(
    factory, module, blocks
):
    params = jax.jit(factory(400, 50).init)(jax.random.key(0))
    for block in np.split(np.float64(params["recurrent"]), blocks, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(50), atol=1e-5)
    assert params["input"].shape == (400, blocks * 50)
    np.testing.assert_allclose(np.std(params["input"]), 1 / np.sqrt(400), rtol=0.02)
    np.testing.assert_array_equal(params["bias"], 0.0)


def test_another_activation_takes_the_place_of_tanh():
    cell = nn.rnn_cell(1, 1, activation=jnp.square)
    params = {"input": jnp.array([[2.0]]), "recurrent": jnp.array([[3.0]]), "bias": jnp.ones(1)}
    np.testing.assert_array_equal(cell.apply(params, jnp.ones(1), jnp.ones(1)), [36.0])


@both_cells
def test_wrong_sizes_are_refused(factory, module, blocks):
    name = rf"nn\.{factory.__name__}"
    with pytest.raises(ValueError, match=f"in_dim of {name} expected a positive integer, got 0"):
        factory(0, 5)
    with pytest.raises(ValueError, match=f"hidden of {name} expected a positive integer, got 0"):
        factory(3, 0)
    cell = factory(3, 5)
    params = jax.eval_shape(cell.init, jax.random.key(0))
    with pytest.raises(ValueError, match=f"the input of {name} expected one event of shape"):
        jax.eval_shape(cell.apply, params, np.zeros(5, np.float32), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=f"the state of {name} expected one event of shape"):
        jax.eval_shape(cell.apply, params, np.zeros(3, np.float32), np.zeros(3, np.float32))
