import math
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.ode import RK4, Reversible, reversible_solve
from jaxvae.ode.reversible_steps import increment

GROWTH = 10.0  # lambda = n / (n + GROWTH) by default
TSIT5, HEUN = diffrax.Tsit5.tableau, diffrax.Heun.tableau


def straight(field, params, z0, ts, counts, tableau, coupling):
    """The same scheme, step after step, without custom derivatives."""

    def psi(t, z, h):
        slopes = []
        for row, node in zip([[], *tableau.a_lower], [0.0, *tableau.c], strict=True):
            stage = z + h * sum((float(a) * k for a, k in zip(row, slopes, strict=True)), 0.0 * z)
            slopes.append(field(t + float(node) * h, stage, params))
        return h * sum(float(b) * k for b, k in zip(tableau.b_sol, slopes, strict=True))

    def step(state, times):
        y, z = state
        t, h = times
        y = coupling * y + (1.0 - coupling) * z + psi(t, z, h)
        return (y, z - psi(t + h, y, -h)), y

    repeats = {"repeats": np.array(counts), "total_repeat_length": sum(counts)}
    h = jnp.repeat(jnp.diff(ts) / np.maximum(counts, 1.0), **repeats)
    number = np.concatenate([np.arange(float(count)) for count in counts])
    _, states = jax.lax.scan(step, (z0, z0), (jnp.repeat(ts[:-1], **repeats) + number * h, h))
    return jnp.concatenate([z0[None], states])[np.cumsum([0, *counts])]


def network(t, z, params):
    hidden = jnp.tanh(params["into"] @ z + jnp.sin(t) * params["bias"])
    return params["out"] @ hidden + jnp.cos(t) * 0.1


def network_params(d, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape) / math.sqrt(d), float)

    return {"into": draw(d, d), "bias": draw(d), "out": draw(d, d)}


def swing(t, z, matrix):
    return jnp.sin(matrix @ z) + t


SWING = np.random.default_rng(4).normal(size=(3, 3))


def weighted(values, seed=1):
    """A loss that looks at every number."""
    weights = np.random.default_rng(seed).normal(size=values.shape)
    return jnp.sum(jnp.asarray(weights, values.dtype) * jnp.sin(values))


def worst(got, expected):
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    norms = [(np.linalg.norm(np.subtract(a, b)), np.linalg.norm(b)) for a, b in pairs]
    return max(float(off / size) for off, size in norms)


@pytest.mark.parametrize(
    ("tableau", "order"),
    [(HEUN, 2), (diffrax.Bosh3.tableau, 3), (RK4.tableau, 4), (TSIT5, 5)],
    ids=["Heun", "Bosh3", "RK4", "Tsit5"],
)
def test_values_have_the_order_of_the_method(tableau, order):
    # z' = s cos(s t) z from 0 to T = n dt0 has z = exp(sin(s t)); s T = 6.
    def field(t, z, s):
        return s * jnp.cos(s * t) * z

    def error(n):
        solution = reversible_solve(
            field, 6.0 / n, jnp.ones(1), jnp.stack([0.0 * n, 0.5 * n, n]),
            tableau=tableau, dt0=1.0, max_steps=1000,
        )  # fmt: skip
        exact = jnp.exp(jnp.sin(jnp.array([3.0, 6.0])))
        return jnp.max(jnp.abs(solution.values[1:, 0] - exact)), solution.steps

    with jax.enable_x64(True):
        steps = jnp.array([64.0, 128.0, 256.0])
        errors, taken = jax.jit(jax.vmap(error))(steps)
    assert taken.tolist() == [64, 128, 256]
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), order, atol=0.3)


@pytest.mark.parametrize(
    ("tableau", "direction", "coupling"),
    [(diffrax.Bosh3.tableau, 1.0, None), (RK4.tableau, -1.0, 0.9)],
)
def test_the_gradient_is_that_of_the_scheme(tableau, direction, coupling):
    with jax.enable_x64(True):
        times = direction * jnp.array([0.2, 0.5, 1.3, 1.3, 1.6, 1.6])
        counts = [3, 8, 0, 3, 0]
        effective = sum(counts) / (sum(counts) + GROWTH) if coupling is None else coupling
        params, z0 = network_params(3), jnp.array([1.0, -0.5, 0.2])

        def ours(params, z0, ts):
            solution = reversible_solve(
                network, params, z0, ts, tableau=tableau, dt0=0.1, max_steps=14, coupling=coupling
            )
            return weighted(solution.values)

        def theirs(params, z0, ts):
            return weighted(straight(network, params, z0, ts, counts, tableau, effective))

        value, gradient = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(params, z0, times)
        expected, exact = jax.jit(jax.value_and_grad(theirs, (0, 1, 2)))(params, z0, times)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    assert worst(gradient, exact) < 1e-12


def test_the_gradient_of_the_times_is_the_slope_of_the_values():
    with jax.enable_x64(True):
        ts, params = jnp.array([0.0, 0.33, 0.95]), jnp.asarray(SWING, float)

        @jax.jit
        def loss(ts):
            solution = reversible_solve(
                swing, params, jnp.ones(3), ts, tableau=RK4.tableau, dt0=0.1, max_steps=20
            )
            return weighted(solution.values)

        slope = jax.jit(jax.grad(loss))(ts)
        for i in range(3):
            shift = 1e-5 * jnp.eye(3)[i]
            difference = (loss(ts + shift) - loss(ts - shift)) / 2e-5
            np.testing.assert_allclose(slope[i], difference, rtol=1e-8)


CIRCLE = np.array([[0.0, -2.0 * np.pi], [2.0 * np.pi, 0.0]]), np.array([1.0, 0.3])
SPIRAL = 25.0 * np.array([[-0.1, 1.0], [-0.2, -0.1]]), np.array([2.0, 0.0])


def linear(t, z, matrix):
    return matrix @ z


@pytest.mark.parametrize("problem", ["circle", "spiral", "network"])
def test_the_gradient_in_float32_has_its_digits(problem):
    def field(t, z, scaled):
        params, scale = scaled
        inner = network if problem == "network" else linear
        return jax.tree.map(lambda x: scale * x, inner(scale * t, z, params))

    @jax.jit
    def gradient(params, z0, n):
        def loss(params, z0, end):
            ts = jnp.stack([0.0 * end, 0.5 * end, end])
            solution = reversible_solve(
                field,
                (params, 1.0 / n),
                z0,
                ts,
                tableau=diffrax.Midpoint.tableau,
                dt0=1.0,
                max_steps=10**4,
            )
            return weighted(solution.values)

        return jax.grad(loss, (0, 1, 2))(params, z0, n)

    with jax.enable_x64(True):
        params, z0 = {
            "circle": CIRCLE,
            "spiral": SPIRAL,
            "network": (network_params(64), np.random.default_rng(2).normal(size=64)),
        }[problem]
        for n in (100.0, 1000.0, 10000.0):
            single, double = (
                gradient(*jax.tree.map(lambda x: jnp.asarray(x, dtype), (params, z0, n)))  # noqa: B023
                for dtype in (jnp.float32, jnp.float64)
            )
            assert worst(single, double) < 1e-5, n


def test_memory_does_not_grow_with_the_number_of_steps():
    def temporary(steps):
        def loss(params, z0):
            solution = reversible_solve(
                linear, params, z0, jnp.array([0.0, 1.0]),
                tableau=HEUN, dt0=1.0 / steps, max_steps=steps,
            )  # fmt: skip
            return jnp.sum(solution.values[-1])

        compiled = jax.jit(jax.grad(loss)).lower(jnp.eye(32), jnp.ones(32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporary(100), temporary(10_000)
    assert many <= 1.05 * few
    # Less than what the states alone would take.
    assert many < 4 * 32 * 10_000


def test_falling_times_mirror_rising_ones():
    params, ts = jnp.asarray(SWING, float), jnp.array([0.3, 0.7, 1.2])

    def mirrored(t, z, params):
        return -swing(-t, z, params)

    solve = partial(reversible_solve, tableau=HEUN, dt0=0.05, max_steps=100)
    down = jax.jit(partial(solve, swing))(params, jnp.ones(3), -ts)
    up = jax.jit(partial(solve, mirrored))(params, jnp.ones(3), ts)
    assert down.steps == up.steps == 18
    np.testing.assert_array_equal(down.values, up.values)


def solve_and_pull(field, params, z0, ts, **settings):
    """Solution; gradients of a loss that looks at the first three times."""

    def loss(params, z0, ts):
        solution = reversible_solve(
            field, params, z0, ts, **{"tableau": HEUN, "dt0": 0.1, "max_steps": 50} | settings
        )
        return weighted(solution.values[:3]), solution

    gradient, solution = jax.grad(loss, (0, 1, 2), has_aux=True)(params, z0, ts)
    return solution, gradient


def test_padding_changes_no_bit():
    run = jax.jit(partial(solve_and_pull, swing))
    ts = jnp.array([0.1, 0.4, 1.0])
    padded = jnp.concatenate([ts, jnp.repeat(ts[-1:], 4)])
    solution, gradient = run(jnp.asarray(SWING, float), jnp.ones(3), ts)
    longer, with_padding = run(jnp.asarray(SWING, float), jnp.ones(3), padded)
    np.testing.assert_array_equal(longer.values[:3], solution.values)
    np.testing.assert_array_equal(longer.values[3:], np.tile(solution.values[-1], (4, 1)))
    assert longer.steps == solution.steps == 9
    for a, b in zip(jax.tree.leaves(gradient[:2]), jax.tree.leaves(with_padding[:2]), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(with_padding[2], np.pad(gradient[2], (0, 4)))


def test_elements_of_a_batch_do_not_see_each_other():
    with jax.enable_x64(True):
        params = jnp.asarray(SWING, float)
        times = jnp.array([[0.0, 0.4, 1.0], [0.0, -2.0, -2.1], [0.5, 0.5, 0.5], [0.0, 9.0, 9.1]])
        starts = jnp.asarray(np.random.default_rng(3).normal(size=(4, 3)))
        run = partial(solve_and_pull, swing, params)
        together = jax.jit(jax.vmap(run))(starts, times)
        one = jax.jit(run)
        for i in range(4):
            alone, ours = one(starts[i], times[i]), jax.tree.map(lambda x: x[i], together)  # noqa: B023
            for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(ours), strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-14)
    assert together[0].steps.tolist() == [10, 21, 0, 0]
    assert together[0].needed.tolist() == [10, 21, 0, 91]


def test_times_beyond_max_steps_are_not_reached():
    ts = jnp.array([0.0, 0.3, 1.0, 2.0, 3.0, jnp.nan])
    run = jax.jit(partial(solve_and_pull, swing, max_steps=10))
    solution, gradient = run(jnp.asarray(SWING, float), jnp.ones(3), ts)
    shorter, expected = run(jnp.asarray(SWING, float), jnp.ones(3), ts[:3])
    assert solution.reached.tolist() == [True] * 3 + [False] * 3
    assert (solution.steps, solution.needed) == (10, 2**29)
    assert np.isnan(solution.values[3:]).all()
    assert np.isnan(solution.gap[3:]).all()
    np.testing.assert_array_equal(solution.values[:3], shorter.values)
    assert shorter.needed == 10
    assert worst((*gradient[:2], gradient[2][:3]), expected) < 1e-6
    assert not gradient[2][3:].any()


def test_a_step_is_not_longer_than_dt0_but_for_rounding():
    @jax.jit
    def steps(ts):
        settings = {"tableau": HEUN, "dt0": 0.1, "max_steps": 50}
        return reversible_solve(linear, jnp.eye(1), jnp.ones(1), ts, **settings).steps

    ts = jnp.arange(8.0) * jnp.float32(0.1)
    assert (steps(ts), steps(1.001 * ts)) == (7, 14)


class Rotation:
    def field(self, t, state, params, gain=1.0):
        matrix, count, nothing, act = params
        assert nothing is None
        turned = gain * matrix @ jnp.concatenate([state["q"], state["p"]])
        turned = turned * count.astype(turned.dtype)
        return {"q": act(turned[:1]), "p": turned[1:]}


def test_structures_in_and_out():
    params = (jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.array(2), None, lambda x: x)
    state, ts = {"q": jnp.array([1.0]), "p": jnp.array([0.5])}, jnp.linspace(0.0, 1.0, 4)

    def loss(matrix, state, field):
        solution = reversible_solve(
            field, (matrix, *params[1:]), state, ts, tableau=RK4.tableau, dt0=0.05, max_steps=50
        )
        return jnp.sum(solution.values["q"][-1]), solution.values

    def total(_, matrix):
        run = jax.value_and_grad(loss, (0, 1), has_aux=True)
        (_, values), gradient = run(matrix, state, partial(Rotation().field, gain=0.5))
        return None, (values, gradient)

    # Twice, in a scan: q'' = -q, so q(1) = cos(1) q + sin(1) p.
    _, (values, (by_matrix, by_state)) = jax.lax.scan(total, None, jnp.stack([params[0]] * 2))
    assert values["p"].shape == (2, 4, 1)
    c, s = math.cos(1.0), math.sin(1.0)
    np.testing.assert_allclose(values["q"][1, -1], c + 0.5 * s, rtol=1e-6)
    np.testing.assert_allclose(by_state["q"][0], [c], rtol=1e-6)
    np.testing.assert_allclose(by_state["p"][1], [s], rtol=1e-6)
    # d/dA of first row of exp(A) z: the integral of exp(A (1 - u))[0, i] (exp(A u) z)[j].
    u = (np.arange(2000) + 0.5) / 2000
    path = np.stack([np.cos(u) + 0.5 * np.sin(u), 0.5 * np.cos(u) - np.sin(u)])
    kernel = np.stack([np.cos(1.0 - u), np.sin(1.0 - u)])
    np.testing.assert_allclose(by_matrix[0], kernel @ path.T / 2000, rtol=2e-6)


def test_whole_batches_as_one_state():
    ts, z0s = jnp.linspace(0.0, 1.0, 3), jnp.asarray(np.eye(3), jnp.float32)
    batched = jax.vmap(network, in_axes=(None, 0, None))
    run = jax.jit(partial(reversible_solve, tableau=HEUN, dt0=0.1, max_steps=10), static_argnums=0)
    together = run(batched, network_params(3), z0s, ts).values
    alone = jax.vmap(lambda z0: run(network, network_params(3), z0, ts).values, out_axes=1)(z0s)
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-7)


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


def shrinks(rate, dtype, n=400):
    """Gradients of two elements under scan, vmap and jit."""
    matrix, starts = jnp.array([[rate]], dtype), jnp.full((2, 1), min(1.0, math.exp(-rate)), dtype)
    ts = jnp.array([0.0, 1.0], dtype)

    def gradients(_, scale):
        pull = partial(solve_and_pull, linear, dt0=1.0 / n, max_steps=n)
        return None, jax.vmap(pull, in_axes=(None, 0, None))(scale * matrix, starts, ts)

    run = jax.jit(lambda: jax.lax.scan(gradients, None, jnp.ones(2, dtype))[1])
    return jax.block_until_ready(run())


@pytest.mark.parametrize("rate", [-30.0, 20.0])
def test_a_lost_way_back_is_an_error(rate):
    message = r"could not undo its n <= 400 steps with coupling n/\(n \+ 10\)"
    with pytest.raises(RuntimeError, match=message):
        shrinks(rate, jnp.float32)


@pytest.mark.parametrize("rate", [-10.0, 9.0])
def test_what_float32_undoes_at_least(rate):
    _, single = shrinks(rate, jnp.float32)
    with jax.enable_x64(True):
        _, double = shrinks(rate, jnp.float64)
    assert worst(single, double) < 1e-4


def test_the_gap_shows_an_unstable_coupling():
    # h a is 0.2: differences change by about lambda e^0.2 a step, 0.92 or 1.16.
    with jax.enable_x64(True):
        stable, unstable = (
            reversible_solve(
                linear, -20.0 * jnp.eye(1), jnp.ones(1), jnp.array([0.0, 1.0]),
                tableau=RK4.tableau, dt0=0.01, max_steps=100, coupling=coupling,
            )
            for coupling in (0.75, 0.95)
        )  # fmt: skip
    assert abs(float(stable.values[-1, 0]) - math.exp(-20.0)) < 1e-8
    assert float(stable.gap[-1]) < 1e-8
    assert abs(float(unstable.values[-1, 0]) - math.exp(-20.0)) > 1e-3
    assert float(unstable.gap[-1]) > 1e-3


def test_stages_that_feed_nothing_are_left_out():
    times = []

    def slope(t, z, learnt, fixed):
        times.append(float(t))
        return -z

    one = increment(TSIT5, slope, jnp.array(0.0), jnp.ones(1), jnp.array(0.1), None, None)
    assert len(times) == 6
    np.testing.assert_allclose(one, [math.expm1(-0.1)], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt0": 0.0}, r"dt0 expected a positive step, got 0\.0"),
        ({"dt0": math.inf}, "dt0 expected a positive step, got inf"),
        ({"max_steps": 0}, "max_steps expected a positive integer, got 0"),
        ({"coupling": 1.0}, "coupling expected a number between"),
        ({"tableau": diffrax.Kvaerno3.tableau}, "tableau of an explicit method"),
        ({"ts": np.arange(3)}, r"floating-point times, got int64 of shape \(3,\)"),
        ({"ts": np.zeros(1)}, r"two or more floating-point times, got float64 of shape \(1,\)"),
        ({"z0": np.arange(2)}, "state of one floating-point type, got int32"),
        ({"z0": {}}, "state of one floating-point type, got no array"),
        ({"field": lambda t, z, params: z[0]}, "values like the state"),
    ],
)
def test_misuse_is_named(change, message, without_type_checks):
    given = {"field": linear, "params": np.eye(2), "z0": np.ones(2), "ts": np.ones(3)} | change
    arguments = [given.pop(name) for name in ("field", "params", "z0", "ts")]
    with pytest.raises(ValueError, match=message):
        reversible_solve(*arguments, **{"tableau": HEUN, "dt0": 0.1, "max_steps": 10} | given)
