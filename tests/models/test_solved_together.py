"""Whoever maps over examples, series with common times are solved with the same steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvae import Example, Grid, TimeSeries, fit, map_examples, metrics, models, nn, ode
from jaxvae.model import EXAMPLES, Estimate
from jaxvae.training import Trained

TIMES = (0.3, 1.1, 2.0, 4.0)
ROWS = 6
# So loose that a series alone takes visibly other steps than all together.
LOOSE = ode.adaptive(1e-2, 1e-2)


pytestmark = pytest.mark.usefixtures("quick_compilation")


def turning():
    """Rotations, each at the frequency that the encoder reads from the series."""

    def encode(params, times, values, mask, start):
        return jnp.concatenate([values[0], values[1, :1], jnp.zeros(3)])

    def rotate(speed, z):
        x, y, frequency = z
        return speed * frequency * jnp.stack([y, -x, 0.0 * x])

    return models.latent_ode(
        encoder=nn.Network(lambda key: None, encode),
        dynamics=nn.Network(lambda key: jnp.ones(()), rotate),
        decoder=nn.Network(lambda key: None, lambda params, z: z[:2]),
        latent_dim=3,
        channels=2,
        integrator=LOOSE,
        likelihood=models.normal(0.1),
        common_times=TIMES,
    )


MODEL = turning()
PARAMS = MODEL.init(jax.random.key(0))
FREQUENCIES = np.geomspace(0.2, 4.0, ROWS)
VALUES = np.ones((ROWS, len(TIMES), 2), np.float32)
VALUES[:, 1] = FREQUENCIES[:, None]
MASK = np.ones(VALUES.shape, bool)
SERIES = TimeSeries(np.broadcast_to(np.float32(TIMES), MASK.shape[:2]), VALUES, MASK)
EXAMPLES_OF_ALL = Example(SERIES, 0.0 * VALUES, Grid(None, MASK))


def at_the_mean(params, example, *, key, settings=None):
    """Without noise, so that estimates of different functions can be compared."""
    del key, settings
    z = MODEL.posterior(params, example.inputs, example.context).mean
    value = MODEL.likelihood(params, z, example.context).log_prob(example.target)
    return Estimate(value, value, {})


def of_one(example):
    return at_the_mean(PARAMS, example, key=None).bound


TOGETHER = float(jnp.mean(jax.jit(partial(map_examples, of_one))(EXAMPLES_OF_ALL)))


def test_alone_the_series_take_other_steps():
    alone = jax.jit(partial(map_examples, of_one, batch_size=1))(EXAMPLES_OF_ALL)
    assert abs(float(jnp.mean(alone)) - TOGETHER) > 1e-3 * abs(TOGETHER)


def test_training_held_out_rows_evaluation_and_gradients_agree_to_rounding():
    rate = 1e-3
    result = fit(
        at_the_mean,
        lambda key: PARAMS,
        EXAMPLES_OF_ALL,
        key=jax.random.key(0),
        num_steps=1,
        batch_size=ROWS,
        optimiser=optax.sgd(rate),
        held_out=EXAMPLES_OF_ALL,
        log_every=1,
        progress=False,
    )
    before, after = (
        metrics.evaluate(at_the_mean, params, EXAMPLES_OF_ALL, key=jax.random.key(1)).mean.bound
        for params in (PARAMS, result.params)
    )
    # Rounding moves the sizes of adaptive steps, and these the path within the tolerance.
    same = partial(np.testing.assert_allclose, rtol=1e-4)
    same(before, TOGETHER)
    same(result.history[0]["bound"], TOGETHER)
    same(result.history[0]["held_out_bound"], after)
    report = metrics.gradient_report(
        at_the_mean, PARAMS, EXAMPLES_OF_ALL, key=jax.random.key(2), num_keys=2
    )
    moved = result.params.generative["dynamics"] - PARAMS.generative["dynamics"]
    np.testing.assert_allclose(report["generative"].norm, jnp.abs(moved) / rate, rtol=1e-3)


def test_a_trained_model_decodes_its_series_together():
    latents = jnp.append(VALUES[:, 0], VALUES[:, 1, :1], axis=1)
    context = EXAMPLES_OF_ALL.context
    decoded = Trained(MODEL, PARAMS).decode(latents, context)
    means = map_examples(lambda z, c: MODEL.likelihood(PARAMS, z, c).mean, latents, context)
    # Values are of order one, after some tens of operations each.
    np.testing.assert_allclose(decoded, means, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 6, 100, None])
def test_batches_change_no_result(batch_size):
    rows = jnp.arange(12.0).reshape(ROWS, 2)
    found = map_examples(
        lambda x, none: {"sum": x.sum(), "row": x}, rows, None, batch_size=batch_size
    )
    np.testing.assert_array_equal(found["sum"], rows.sum(1))
    np.testing.assert_array_equal(found["row"], rows)


def test_the_axis_reaches_the_examples_of_a_batch():
    def centred(x):
        return x - jax.lax.pmean(x, EXAMPLES)

    rows = jnp.arange(6.0)
    np.testing.assert_allclose(map_examples(centred, rows), rows - 2.5)
    np.testing.assert_allclose(map_examples(centred, rows, batch_size=3), [-1, 0, 1, -1, 0, 1])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((jnp.ones(3), jnp.ones(4)), {}, "got 3 and 4"),
        ((jnp.ones((0, 2)),), {}, "the number of examples expected a positive integer, got 0"),
        ((jnp.ones(3),), {"batch_size": 0}, "batch_size expected a positive integer, got 0"),
        ((None,), {}, "got no array"),
    ],
)
def test_what_cannot_be_mapped_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        map_examples(lambda *rows: rows, *arguments, **options)
