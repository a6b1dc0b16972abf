import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reversible_runs import linear, solve_and_pull, worst

from jaxvae.ode import RK4, Reversible, fixed_steps, reversible_solve, solve


@pytest.mark.parametrize("coupling", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_couplings_that_are_none(coupling):
    with pytest.raises(ValueError, match=r"coupling expected a number between 0 and 1"):
        Reversible(coupling)


def test_a_run_that_cannot_be_undone_says_so():
    # lambda^-n is 0.85^-100 = 1.1e7 or 0.86^-100 = 3.5e6; 1/epsilon is 8.4e6.
    run = jax.jit(
        partial(solve_and_pull, linear, dt0=0.01, max_steps=100), static_argnames="coupling"
    )
    start = jnp.zeros((1, 1)), jnp.ones(1), jnp.array([0.0, 1.0])
    assert not run(*start, coupling=0.85)[0].reversible
    assert run(*start, coupling=0.86)[0].reversible
    assert run(*start)[0].reversible
    np.testing.assert_allclose(run(*start)[0].coupling, 100 / 110, rtol=1e-6)


@jax.jit
def pulled_twice(matrix, starts, ts):
    """Gradients of two elements under scan, vmap and jit."""

    def gradients(_, scale):
        pull = partial(solve_and_pull, linear, dt0=1 / 400, max_steps=400)
        return None, jax.vmap(pull, in_axes=(None, 0, None))(scale * matrix, starts, ts)

    return jax.lax.scan(gradients, None, jnp.ones(2, ts.dtype))[1]


def shrinks(rate, dtype):
    start = min(1.0, math.exp(-rate))
    arrays = np.array([[rate]], dtype), np.full((2, 1), start, dtype), np.array([0, 1], dtype)
    return jax.block_until_ready(pulled_twice(*arrays))


@pytest.mark.parametrize("rate", [-30.0, 20.0])
def test_a_lost_way_back_is_an_error(rate):
    message = r"could not undo its n <= 400 steps with coupling n/\(n \+ 10\)"
    with pytest.raises(RuntimeError, match=message):
        shrinks(rate, np.float32)


@pytest.mark.parametrize("rate", [-10.0, 9.0])
def test_what_float32_undoes_at_least(rate):
    _, single = shrinks(rate, np.float32)
    with jax.enable_x64(True):
        _, double = shrinks(rate, np.float64)
    assert worst(single, double) < 1e-4


def test_the_gap_shows_an_unstable_coupling():
    # h a is 0.2: differences change by about lambda e^0.2 a step, 0.92 or 1.16.
    with jax.enable_x64(True):
        ts = jnp.array([0.0, 1.0])
        settings = {"tableau": RK4.tableau, "dt0": 0.01, "max_steps": 100}
        stable, unstable = (
            reversible_solve(
                linear, -20.0 * jnp.eye(1), jnp.ones(1), ts, **settings, coupling=coupling
            )
            for coupling in (0.75, 0.95)
        )
    assert abs(float(stable.values[-1, 0]) - math.exp(-20.0)) < 1e-8
    assert float(stable.gap[-1]) < 1e-8
    assert abs(float(unstable.values[-1, 0]) - math.exp(-20.0)) > 1e-3
    assert float(unstable.gap[-1]) > 1e-3


def test_a_solve_whose_two_solutions_part_is_no_solution():
    # The states shrink by e^-50: the scheme's own error takes over and grows by twelve digits.
    field, z0, ts = jnp.array([[-0.5, 1.0], [-1.0, -0.5]]), jnp.ones(2), jnp.linspace(0, 100.0, 11)
    how = fixed_steps(0.1, adjoint=Reversible())
    masked = jax.jit(lambda ts: solve(linear, field, z0, ts, integrator=how, throw=False))
    for share, sound in ((0.1, True), (1.0, False)):
        found = masked(ts * share)
        assert np.all(found.reached) == np.any(found.reached) == sound
    with pytest.raises(RuntimeError, match="have diverged"):
        jax.block_until_ready(solve(linear, field, z0, ts, integrator=how).values)
