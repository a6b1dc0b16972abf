"""Parameters that move a support: of which distributions, and why estimators must know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.distributions import (
    Categorical,
    Delta,
    Exponential,
    Joint,
    LogNormal,
    Masked,
    Mixture,
    Normal,
    Pareto,
    Product,
    Reciprocal,
    Transformed,
    Triangular,
    TruncatedNormal,
    Uniform,
    moving_support,
)
from jaxvae.distributions.flows import Planar, Reversal

TWO = jnp.array([0.1, 0.2])
ROWS = jnp.stack([TWO, TWO])


def traced(make, *arrays):
    """The names that a differentiated function sees."""
    seen = []

    def total(*arrays):
        seen.append(moving_support(make(*arrays)))
        return 0.0

    jax.grad(total, argnums=tuple(range(len(arrays))))(*arrays)
    return seen[0]


def half(distribution):
    return Categorical(jnp.zeros(2)), distribution


@pytest.mark.parametrize(
    ("make", "arrays", "expected"),
    [
        (Uniform, (TWO, TWO), ("Uniform.low", "Uniform.log_width")),
        (lambda low: Uniform(low, TWO), (TWO,), ("Uniform.low",)),
        (lambda width: Uniform(jnp.asarray(TWO), width), (TWO,), ("Uniform.log_width",)),
        (Pareto, (TWO, TWO), ("Pareto.log_scale",)),
        (Reciprocal, (TWO, TWO), ("Reciprocal.log_low", "Reciprocal.log_width")),
        (TruncatedNormal, (TWO,) * 4, ("TruncatedNormal.low", "TruncatedNormal.high")),
        (lambda m, s: TruncatedNormal(m, s, TWO, TWO + 1), (TWO, TWO), ()),
        (Delta, (TWO,), ("Delta.point",)),
        (Triangular, (TWO, TWO, TWO), ()),
        (Normal, (TWO, TWO), ()),
        (lambda a: Product((Normal(a, a), Delta(a), Delta(a))), (TWO,), ("Delta.point",)),
        (lambda a: Masked(Uniform(TWO, a), TWO > 0), (TWO,), ("Uniform.log_width",)),
        (lambda a: Joint(*half(Uniform(a, ROWS))), (ROWS,), ("Uniform.low",)),
        (lambda a: Mixture(*half(Pareto(a, ROWS))), (ROWS,), ("Pareto.log_scale",)),
        (lambda a: Mixture(Categorical(a), Uniform(ROWS, ROWS)), (TWO,), ()),
        (lambda a: Transformed(Uniform(a, TWO), Reversal()), (TWO,), ("Uniform.low",)),
        (
            lambda a: Transformed(Uniform(TWO, TWO), Planar(a, TWO, a[0])),
            (TWO,),
            ("Transformed.flow",),
        ),
        (
            lambda a: Transformed(Exponential(TWO), Planar(a, TWO, a[0])),
            (TWO,),
            ("Transformed.flow",),
        ),
        (lambda a: Transformed(LogNormal(TWO, TWO), Planar(a, TWO, a[0])), (TWO,), ()),
        (lambda a: Transformed(Normal(a, TWO), Planar(a, TWO, a[0])), (TWO,), ()),
    ],
)
def test_traced_parameters_that_move_the_support_are_named(make, arrays, expected):
    assert traced(make, *arrays) == expected
    assert moving_support(make(*arrays)) == ()


CASES = {
    "Uniform": (Uniform, (0.3, 0.4)),
    "Pareto": (Pareto, (0.3, 1.4)),
    "Reciprocal": (Reciprocal, (0.3, 0.4)),
    "TruncatedNormal": (TruncatedNormal, (0.0, 0.2, -0.5, 0.7)),
    "Triangular": (Triangular, (0.3, 0.4, 0.2)),
    "Exponential": (Exponential, (0.3,)),
    "LogNormal": (LogNormal, (0.3, 0.4)),
}


@pytest.mark.parametrize(("family", "parameters"), CASES.values(), ids=CASES)
def test_the_score_function_is_biased_in_the_parameters_named_and_in_no_other(family, parameters):
    parameters = tuple(map(jnp.float32, parameters))
    named = {name.split(".")[1] for name in traced(family, *parameters)}

    @jax.jit
    @jax.vmap
    def difference(noise):
        q = family(*parameters)
        value = q.transform(noise)
        path = jax.grad(lambda q: jnp.tanh(q.transform(noise)))(q)
        score = jax.grad(lambda q: q.log_prob(value))(q)
        return vars(jax.tree.map(lambda p, s: p - jnp.tanh(value) * s, path, score))

    keys = jax.random.split(jax.random.key(0), 20_000)
    noise = jax.jit(jax.vmap(family(*parameters).noise.sample))(keys)
    for name, leaf in jax.device_get(difference(noise)).items():
        errors = np.abs(np.mean(leaf)) / (np.std(leaf) / np.sqrt(leaf.size))
        assert errors > 8 if name in named else errors < 4, (name, errors)
