import itertools
from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from oracles import TOLERANCES, assert_near
from samplers import RUN_ONCE

from jaxvae.distributions import (
    LowRankNormal,
    MultivariateNormal,
    Normal,
    has_closed_form,
    kl_by_factor,
    kl_divergence,
    kl_monte_carlo,
)

D, RANK, BATCH = 3, 2, 10
FAMILIES = {
    Normal: ((D,), (D,)),
    MultivariateNormal: ((D,), (D,), (D * (D - 1) // 2,)),
    LowRankNormal: ((D,), (D,), (D, RANK)),
}
PAIRS = list(itertools.product(FAMILIES, FAMILIES))
every_pair = pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[f"{q.__name__}-{p.__name__}" for q, p in PAIRS]
)
# Among them each family is on either side.
OFTEN = {
    (Normal, MultivariateNormal),
    (MultivariateNormal, MultivariateNormal),
    (LowRankNormal, LowRankNormal),
    (LowRankNormal, Normal),
}
most_pairs_rarely = pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(
            q,
            p,
            id=f"{q.__name__}-{p.__name__}",
            marks=() if (q, p) in OFTEN else pytest.mark.exhaustive,
        )
        for q, p in PAIRS
    ],
)
divergence = jax.jit(jax.vmap(kl_divergence))
from_covariance = jax.jit(jax.vmap(MultivariateNormal.from_covariance))
gradient = jax.jit(jax.vmap(jax.grad(kl_divergence, (0, 1))))


@partial(jax.jit, compiler_options=RUN_ONCE)
@partial(jax.vmap, in_axes=(None, None, 0))
def monte_carlo(q, p, key):
    return kl_monte_carlo(q, p, key=key, num_samples=1)


def batch(family, seed, dtype, scale=1.0, spread=1.0):
    """Ten distributions, stacked; all coordinates in units of ``scale``."""
    random = np.random.default_rng(seed)
    loc, log_scale, *rest = (
        spread * random.normal(size=(BATCH, *shape)) for shape in FAMILIES[family]
    )
    arrays = scale * loc, 0.5 * log_scale + np.log(scale), *(0.8 * scale * x for x in rest)
    return jax.vmap(family)(*[jnp.asarray(x, dtype) for x in arrays])


def member(stacked, index):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[index]), stacked)


def exact_moments(distribution):
    """The mean and the covariance in mpmath, from the stored parameters."""
    loc, log_scale, *rest = [np.float64(leaf) for leaf in jax.tree.leaves(distribution)]
    root = mpmath.diag([mpmath.exp(x) for x in log_scale.tolist()])
    if isinstance(distribution, MultivariateNormal):
        for i, j, entry in zip(*np.tril_indices(len(loc), -1), rest[0].tolist(), strict=True):
            root[int(i), int(j)] = entry
    covariance = root * root.T
    if isinstance(distribution, LowRankNormal):
        factor = mpmath.matrix(rest[0].tolist())
        covariance += factor * factor.T
    return mpmath.matrix(loc.tolist()), covariance


def exact_divergence(q, p):
    """(tr(P Q) - d + m^T P m + log|P^-1| - log|Q|)/2, P the precision of p."""
    (q_loc, q_covariance), (p_loc, p_covariance) = exact_moments(q), exact_moments(p)
    precision, shift = mpmath.inverse(p_covariance), q_loc - p_loc
    product = precision * q_covariance
    trace = sum(product[i, i] for i in range(product.rows))
    square = (shift.T * precision * shift)[0]
    ratio = mpmath.log(mpmath.det(p_covariance) / mpmath.det(q_covariance))
    return float((trace - product.rows + square + ratio) / 2)


def numpy_moments(distribution):
    with mpmath.workdps(40):
        loc, covariance = exact_moments(distribution)
        return np.array(loc.tolist(), np.float64)[:, 0], np.array(covariance.tolist(), np.float64)


@every_pair
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_it_is_the_formula_of_the_covariances_at_every_scale(first, second, dtype):
    with jax.enable_x64(dtype == jnp.float64), mpmath.workdps(60):
        for scale in (1e-6, 1.0, 1e6):
            q, p = batch(first, 0, dtype, scale), batch(second, 1, dtype, scale)
            got = divergence(q, p)
            assert got.dtype == dtype
            exact = [exact_divergence(member(q, i), member(p, i)) for i in range(BATCH)]
            assert_near(got, exact, TOLERANCES[dtype], f"scale {scale}")


@every_pair
def test_posteriors_far_narrower_than_their_prior_pay_their_log_volume(first, second):
    q, p = batch(first, 0, jnp.float32, 1e-12), batch(second, 1, jnp.float32)
    with mpmath.workdps(80):
        exact = [exact_divergence(member(q, i), member(p, i)) for i in range(BATCH)]
    assert_near(divergence(q, p), exact, 1e-5)


@most_pairs_rarely
def test_monte_carlo_agrees(first, second):
    q, p = (
        member(batch(family, seed, jnp.float32), 0) for family, seed in ((first, 2), (second, 3))
    )

    keys = jax.random.split(jax.random.key(0), 20_000)
    estimates = monte_carlo(q, p, keys)
    exact = divergence(batch(first, 2, jnp.float32), batch(second, 3, jnp.float32))[0]
    error = np.mean(np.float64(estimates)) - float(exact)
    assert abs(error) < 4 * np.std(estimates) / np.sqrt(20_000)


@most_pairs_rarely
def test_derivatives_are_those_of_finite_differences(first, second):
    with jax.enable_x64(True):
        pair = batch(first, 4, jnp.float64), batch(second, 5, jnp.float64)
        directions = batch(first, 18, jnp.float64), batch(second, 19, jnp.float64)

        def at(step):
            moved = jax.tree.map(
                lambda x, v: np.asarray(x) + step * np.asarray(v), pair, directions
            )
            return np.float64(divergence(*moved))

        numerical = (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3
        slopes, along = jax.tree.leaves(gradient(*pair)), jax.tree.leaves(directions)
        products = [np.asarray(g) * np.asarray(v) for g, v in zip(slopes, along, strict=True)]
        got = sum(np.sum(np.reshape(x, (BATCH, -1)), axis=1) for x in products)
        assert_near(got, numerical, 1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_vanishes_to_rounding_at_equality_and_so_does_its_gradient(family):
    for scale, factor in itertools.product((1e-6, 1.0, 1e6), (1.0, 1e6)):
        what = f"scale {scale}, factor {factor}"
        # What correlates the coordinates may be far larger than what is their own.
        loc, log_scale, *rest = jax.tree.leaves(batch(family, 6, jnp.float32, scale))
        larger = [jnp.asarray(np.float32(factor) * np.asarray(x)) for x in rest]
        q = jax.vmap(family)(loc, log_scale, *larger)
        assert np.max(np.abs(divergence(q, q))) <= (2e-6 if family is LowRankNormal else 0.0), what
        slope, _ = gradient(q, q)
        np.testing.assert_allclose(slope.loc, np.zeros((BATCH, D)), atol=1e-6, err_msg=what)
        log_diagonal = jax.tree.leaves(slope)[1]
        np.testing.assert_allclose(log_diagonal, np.zeros((BATCH, D)), atol=2e-6, err_msg=what)


def test_next_to_a_standard_prior_it_is_exact():
    """To second order |m|^2/2 + |log t|^2 + |below|^2/2, which no difference of traces resolves."""
    loc, log_diagonal, lower = (1e-5 * x for x in np.random.default_rng(7).normal(size=(3, 3)))
    q = MultivariateNormal(*[jnp.asarray(x, jnp.float32) for x in (loc, 0 * log_diagonal, lower)])
    exact = (loc @ loc + lower @ lower) / 2
    np.testing.assert_allclose(kl_divergence(q, Normal.standard((3,))), exact, rtol=1e-6)
    full = MultivariateNormal(jnp.zeros(3), jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(kl_divergence(q, full), exact, rtol=1e-6)


@every_pair
def test_a_common_affine_map_changes_nothing(first, second):
    random = np.random.default_rng(8)
    matrix, offset = random.normal(size=(D, D)), random.normal(size=D)

    def mapped(stacked):
        moments = [numpy_moments(member(stacked, i)) for i in range(BATCH)]
        loc = np.stack([matrix @ loc + offset for loc, _ in moments])
        covariance = np.stack([matrix @ covariance @ matrix.T for _, covariance in moments])
        return from_covariance(jnp.asarray(loc), jnp.asarray(covariance))

    with jax.enable_x64(True):
        q, p = batch(first, 9, jnp.float64), batch(second, 10, jnp.float64)
        got = divergence(mapped(q), mapped(p))
        np.testing.assert_allclose(got, divergence(q, p), rtol=1e-9)


@every_pair
def test_a_diagonal_written_in_another_family_has_the_diagonals_divergence(first, second):
    def written(family, diagonal):
        *_, rest = FAMILIES[family]
        extra = [] if family is Normal else [jnp.zeros((BATCH, *rest))]
        return jax.vmap(family)(diagonal.loc, diagonal.log_scale, *extra)

    q, p = batch(Normal, 11, jnp.float32), batch(Normal, 12, jnp.float32)
    got = divergence(written(first, q), written(second, p))
    np.testing.assert_allclose(got, divergence(q, p), rtol=2e-6, atol=1e-6)


def test_low_rank_normals_may_have_different_ranks():
    q, p = batch(LowRankNormal, 13, jnp.float32), batch(LowRankNormal, 14, jnp.float32)
    q = jax.vmap(LowRankNormal)(q.loc, q.log_scale, q.factor[:, :, :1])
    with mpmath.workdps(60):
        for first, second in ((q, p), (p, q)):
            exact = [exact_divergence(member(first, i), member(second, i)) for i in range(BATCH)]
            assert_near(divergence(first, second), exact, 1e-5)


@every_pair
def test_factors_are_the_coordinates_only_where_both_are_diagonal(first, second):
    q, p = member(batch(first, 15, jnp.float32), 0), member(batch(second, 16, jnp.float32), 0)
    assert has_closed_form(q, p)
    factors = jax.eval_shape(kl_by_factor, q, p)
    assert factors.shape == ((D,) if first is second is Normal else ())


def test_events_of_different_shapes_are_refused():
    q = member(batch(MultivariateNormal, 17, jnp.float32), 0)
    with pytest.raises(ValueError, match=r"expected .*\(3,\), got \(2,\)"):
        kl_divergence(q, Normal.standard((2,)))
