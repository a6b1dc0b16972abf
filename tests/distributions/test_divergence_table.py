"""Every pair of the table of closed forms, against mpmath, samples and finite differences."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from cross_entropies import KNOWN, divergence
from oracles import SUM_ROUNDING, TOLERANCES, assert_near
from samplers import RUN_ONCE

from jaxvae import distributions
from jaxvae.distributions import (
    Beta,
    Cauchy,
    ChiSquared,
    Dirichlet,
    Erlang,
    Exponential,
    F,
    Gamma,
    Laplace,
    Logistic,
    LogNormal,
    MultivariateNormal,
    MultivariateStudentT,
    Normal,
    Pareto,
    Poisson,
    Rayleigh,
    Reciprocal,
    StudentT,
    Triangular,
    TruncatedNormal,
    Uniform,
    Weibull,
    kl_by_factor,
    kl_divergence,
)
from jaxvae.distributions.divergence.kl import _CLOSED_FORMS

ONE_PARAMETER = (Exponential, ChiSquared, Rayleigh, Poisson)
SCALAR = {getattr(distributions, name) for name in KNOWN} | {*ONE_PARAMETER, Erlang}
PAIRS = [(q, p) for q, p in _CLOSED_FORMS if q in SCALAR and p in SCALAR]
# One pair for each formula; the other pairs are the same function of other parameters.
FORMULAS = list({_CLOSED_FORMS[pair]: pair for pair in PAIRS}.values())
# One pair of each kind: unbounded, bounded, of logarithms, of a smaller support, of counts.
SAMPLED = {
    (Normal, Normal),
    (Laplace, Normal),
    (Triangular, Uniform),
    (LogNormal, Rayleigh),
    (Pareto, Pareto),
    (Poisson, Poisson),
}
# Their derivatives take as long to compile as those of all other formulas.
SLOW_DERIVATIVES = {
    (Beta, Beta),
    (Beta, Uniform),
    (Cauchy, Cauchy),
    (ChiSquared, LogNormal),
    (ChiSquared, Rayleigh),
    (Exponential, Rayleigh),
    (F, Exponential),
    (StudentT, Normal),
    (Triangular, Normal),
    (TruncatedNormal, Normal),
}


def by_name(cases, often):
    """Rows of parameters; those that are not taken ``often`` are left to the exhaustive run."""
    return [
        pytest.param(
            *case,
            id="-".join(part.__name__ for part in case),
            marks=() if often(*case) else pytest.mark.exhaustive,
        )
        for case in cases
    ]


MIRRORED = [(q, p) for q, p in PAIRS if q is p]
SIZE = 4


kl_of = jax.jit(kl_divergence)


def make(family, role, dtype, size=SIZE, spread=2.0):
    """A distribution of random parameters for each coordinate; half of the p cover their q."""
    random = np.random.default_rng(role)
    a, b, c = (spread * random.normal(size=size) for _ in range(3))
    wider = 4.0 * role * (np.arange(size) % 2)
    arrays = {
        StudentT: (a, b, 1.8 + np.abs(c)),
        Triangular: (np.abs(a) - wider, b + wider, c),
        TruncatedNormal: (a, b, c - 1.0 - wider, c + np.abs(a) + wider),
        Uniform: (np.abs(a) - wider, b + wider),
        Reciprocal: (a - wider, np.minimum(b, 1.0) + wider / 4),
        Pareto: (a - wider, 0.8 + np.abs(b)),
        F: (a, 2.5 + np.abs(b)),
        **dict.fromkeys((*ONE_PARAMETER, Erlang), (a,)),
    }.get(family, (a, b))
    arrays = [jnp.asarray(x, dtype) for x in arrays]
    return Erlang(2 + 5 * role, *arrays) if family is Erlang else family(*arrays)


def member(distribution, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], distribution)


@pytest.mark.parametrize(
    ("dtype", "first", "second"),
    by_name(
        [(dtype, *pair) for dtype in TOLERANCES for pair in PAIRS],
        lambda dtype, *pair: dtype == jnp.float32 or pair in FORMULAS,
    ),
)
def test_it_is_the_textbooks_formula(dtype, first, second):
    with jax.enable_x64(dtype == jnp.float64):
        q, p = make(first, 0, dtype), make(second, 1, dtype)
        got = kl_by_factor(q, p)
        assert got.dtype == dtype
        got = np.array(got, np.float64)
        wanted = np.array([divergence(member(q, i), member(p, i)) for i in range(SIZE)])
    wanted[wanted > float(jnp.finfo(dtype).max)] = np.inf
    # The rounding of an exponent x is x roundings of its exponential.
    far = np.isfinite(wanted) & (wanted > np.exp(40.0))
    got[far], wanted[far] = np.log(got[far]), np.log(wanted[far])
    assert_near(got, wanted, TOLERANCES[dtype])
    assert np.any(np.isfinite(wanted))


@pytest.mark.parametrize(("first", "second"), by_name(FORMULAS, lambda *pair: pair in SAMPLED))
def test_it_is_the_mean_log_ratio_of_samples(first, second):
    """What the textbooks say holds for the densities of this library."""
    pair = tuple(make(f, r, jnp.float32, spread=0.4) for f, r in ((first, 0), (second, 1)))
    closed = float(np.asarray(kl_by_factor(*pair))[1])
    # Not compiled as one program: the families have most operations of this shape in common.
    q, p = jax.tree.map(lambda leaf: jnp.asarray(np.full(NUMBER, np.asarray(leaf)[1])), pair)
    value = q.sample(jax.random.key(1))
    ratios = np.float64(q.log_prob_by_factor(value)) - np.float64(p.log_prob_by_factor(value))
    if np.isinf(closed):
        assert np.any(np.isinf(ratios))
        return
    standard_error = np.std(ratios) / np.sqrt(NUMBER)
    assert abs(np.mean(ratios) - closed) < 4 * standard_error + 1e-6 * max(1.0, closed)


@pytest.mark.parametrize(
    ("first", "second"), by_name(FORMULAS, lambda *pair: pair not in SLOW_DERIVATIVES)
)
def test_derivatives_are_those_of_finite_differences(first, second):
    with jax.enable_x64(True):
        pair = tuple(make(f, r, jnp.float64, spread=1.0) for f, r in ((first, 0), (second, 1)))
        change = jax.tree.map(
            lambda leaf: jnp.asarray(np.cos(1.0 + np.arange(SIZE) + np.asarray(leaf))), pair
        )

        def at(step):
            moved = jax.tree.map(lambda x, v: jnp.asarray(x + step * np.asarray(v)), pair, change)
            return np.float64(kl_by_factor(*moved))

        _, got = jax.jvp(kl_by_factor, pair, change)
        with np.errstate(invalid="ignore"):
            numerical = (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3
        # Infinite divergences do not change.
        numerical = np.where(np.isfinite(at(0.0)), numerical, 0.0)
        assert_near(got, numerical, 1e-7)


@pytest.mark.parametrize("family", [q for q, _ in MIRRORED], ids=lambda family: family.__name__)
def test_it_vanishes_at_equality_and_is_exact_next_to_it(family):
    q = make(family, 0, jnp.float32)
    zero = kl_by_factor(q, q)
    # What remains of a difference of remainders of Stirling's formula.
    rounding = 1e-6 if family in GAMMA_LIKE else 1e-20
    assert np.all(np.abs(zero) <= rounding)
    if family in (Uniform, Reciprocal, Pareto):  # not differentiable there
        return
    step = np.float32(1e-3 * np.cos(np.arange(SIZE)))
    p = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) + step), q)
    wanted = np.array([divergence(member(q, i), member(p, i)) for i in range(SIZE)])
    got = kl_by_factor(q, p)
    # Normal's logarithm and square are subtracted, which rounds at the size of the former.
    precise = family not in (*GAMMA_LIKE, Normal)
    np.testing.assert_allclose(
        got, wanted, rtol=1e-3 if precise else 0.0, atol=0.0 if precise else 3e-7
    )


NUMBER = 20_000
GAMMA_LIKE = (Gamma, Erlang, ChiSquared, Beta)
CONCENTRATED = [(1e6, 1.0005e6), (1e6, 3e4), (3e4, 1e6), (1e-3, 1e6), (1e6, 1e-3), (1e-4, 3e-3)]


@pytest.mark.parametrize(
    ("family", "dtype"),
    by_name(
        itertools.product((Gamma, Beta, Weibull, LogNormal, Dirichlet), TOLERANCES),
        lambda family, dtype: dtype == jnp.float32 or family is Gamma,
    ),
)
def test_next_to_one_another_concentrated_distributions_keep_their_digits(family, dtype):
    """Where the textbooks' terms are ten million times larger than their sum."""
    with jax.enable_x64(dtype == jnp.float64):
        a, b = (jnp.asarray(np.log(x), dtype) for x in zip(*CONCENTRATED, strict=True))
        if family is Dirichlet:
            other = jnp.log(jnp.asarray(3.0, dtype))
            first, second = (jnp.stack([x, x + 1.0, jnp.full_like(x, other)], -1) for x in (a, b))
            q, p = Dirichlet(first), Dirichlet(second)
            pairs = zip(np.asarray(first), np.asarray(second), strict=True)
            wanted = [_of_dirichlet(x, y) for x, y in pairs]
        else:
            q, p = {
                Gamma: (Gamma(a, a - 3.0), Gamma(b, b - 3.0005)),
                Beta: (Beta(a, b), Beta(b, a + 1e-3)),
                Weibull: (Weibull(0.0 * a, 0.5 * jnp.abs(a)), Gamma(a, a)),
                LogNormal: (LogNormal(0.0 * a, -0.5 * jnp.abs(a)), Gamma(a, a)),
            }[family]
            wanted = [divergence(member(q, i), member(p, i)) for i in range(len(CONCENTRATED))]
        assert_near(jax.jit(kl_by_factor)(q, p), wanted, TOLERANCES[dtype])


def _of_dirichlet(log_a, log_b):
    with mpmath.workdps(60):
        a, b = ([mpmath.exp(mpmath.mpf(float(x))) for x in logs] for logs in (log_a, log_b))
        whole = mpmath.digamma(sum(a))
        total = mpmath.loggamma(sum(a)) - mpmath.loggamma(sum(b))
        for x, y in zip(a, b, strict=True):
            total += mpmath.loggamma(y) - mpmath.loggamma(x) + (x - y) * (mpmath.digamma(x) - whole)
        return float(total)


def test_dirichlet_of_two_parts_is_beta():
    logs = np.random.default_rng(0).normal(size=(4, SIZE))
    q, p = (Beta(*jnp.asarray(pair, jnp.float32)) for pair in (logs[:2], logs[2:]))
    first, second = (Dirichlet(jnp.asarray(x.T, jnp.float32)) for x in (logs[:2], logs[2:]))
    got = jax.jit(kl_by_factor, compiler_options=RUN_ONCE)(first, second)
    # Its operations are those of the pairs above, of the same shape.
    exact = kl_by_factor(q, p)
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=SUM_ROUNDING)


def test_t_vectors_of_one_coordinate_are_t_variables():
    loc, log_scale, none = jnp.full(1, 0.3), jnp.full(1, -0.5), jnp.zeros(0)
    other = Normal(jnp.ones(1), jnp.full(1, 0.2))
    full = MultivariateNormal(other.loc, other.log_scale, none)
    for df in (1.5, 2.5, 30.0, 1e6):
        log_df = np.float32(np.log(df))
        scalar = kl_of(StudentT(loc, log_scale, jnp.asarray(log_df[None])), other)
        vector = MultivariateStudentT(loc, log_scale, none, jnp.asarray(log_df))
        for p in (other, full):
            np.testing.assert_allclose(kl_of(vector, p), scalar, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("first", [Normal, Logistic])
def test_towards_a_laplace_variable_any_number_of_scales_away(first):
    distances = np.array([0.0, 0.5, 2.9, 3.1, 4.0, 5.5, 39.0, 41.0, 1e3])
    log_scale = np.repeat([-6.0, 0.0, 3.0], len(distances))
    shift = np.tile(distances, 3) * np.exp(log_scale)
    q = first(jnp.asarray(shift, jnp.float32), jnp.asarray(log_scale, jnp.float32))
    loc, scale = (jnp.asarray(np.full(len(shift), x, np.float32)) for x in (0.0, 0.3))
    p = Laplace(loc, scale)
    exact = [divergence(member(q, i), member(p, i)) for i in range(len(shift))]
    assert_near(jax.jit(kl_by_factor)(q, p), exact, TOLERANCES[jnp.float32])


def test_a_t_variable_differs_infinitely_from_a_normal_up_to_two_degrees_of_freedom():
    zero, none = jnp.zeros(1), jnp.zeros(0)
    p = Normal(jnp.full(1, 0.5), zero)
    for df in (0.5, 1.8, 1.83, 1.9, 1.99, 2.0, 2.01, 2.1):
        q = StudentT(zero, zero, jnp.asarray(np.float32([np.log(df)])))
        vector = MultivariateStudentT(zero, zero, none, jnp.float32(np.log(df)))
        got = [float(kl_of(q, p)), float(kl_of(vector, p))]
        if df <= 2:
            assert got == [np.inf] * 2, df
        else:
            # Next to two degrees of freedom the variance has few digits.
            exact = divergence(member(q, 0), member(p, 0))
            np.testing.assert_allclose(got, exact, rtol=1e-4, err_msg=str(df))


def test_t_vectors_from_a_normal_agree_with_samples():
    random = np.random.default_rng(1)
    loc, log_diagonal, lower = (jnp.asarray(x, jnp.float32) for x in random.normal(size=(3, 3)))
    q = MultivariateStudentT(loc, 0.3 * log_diagonal, lower, jnp.log(jnp.float32(7.0)))
    others = (
        Normal(jnp.zeros(3), jnp.ones(3)),
        MultivariateNormal(jnp.zeros(3), jnp.ones(3), -lower),
        distributions.LowRankNormal(jnp.zeros(3), jnp.ones(3), loc[:, None]),
    )

    @partial(jax.jit, compiler_options=RUN_ONCE)
    def log_ratios_and_divergences(q, others, keys):
        values, log_q = jax.vmap(q.sample_and_log_prob)(keys)
        ratios = [log_q - jax.vmap(p.log_prob)(values) for p in others]
        return jnp.stack(ratios), [kl_divergence(q, p) for p in others]

    keys = jax.random.split(jax.random.key(0), NUMBER)
    ratios, closed = log_ratios_and_divergences(q, others, keys)
    for each, exact in zip(np.float64(ratios), closed, strict=True):
        error = np.mean(each) - float(exact)
        assert abs(error) < 4 * np.std(each) / np.sqrt(NUMBER)
