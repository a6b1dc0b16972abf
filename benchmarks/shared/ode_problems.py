"""Initial value problems on which solvers and adjoints are measured.

Their parameters, initial states and times are exact in float32, so that both precisions solve the
same problem.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import data, nn, ode

_STRONGER = 3.0
"""Factor of the initial weights of a network, without which the state hardly moves and every solver
takes the fewest steps that it can."""


class Problem(NamedTuple):
    """A differential equation with its initial state, its times, and a loss of the solution there.

    Attributes:
        name: on the command line and in the tables.
        field: the vector field of one state.
        params: of the vector field; NumPy arrays in float64, as are z0 and ts.
        z0: the state at the first time, with a leading axis of series for a batch.
        ts: times of the solution.
        loss: of the values, (time, *state) or (series, time, *state).
        batch: number of series with common steps; None for one series.
        fixed_steps: number of fixed steps with which RK4 is stable and moderately accurate.
        max_steps: tight limit for an adaptive solve of order five with a tolerance of 1e-6.
        stiff: whether stability rather than accuracy limits the steps of explicit solvers.
        about: description of the problem and its loss, for the results.
    """

    name: str
    field: ode.Field
    params: Any
    z0: np.ndarray
    ts: np.ndarray
    loss: Callable[[Array], Array]
    batch: int | None
    fixed_steps: int
    max_steps: int
    stiff: bool
    about: str

    def arguments(self, dtype: str) -> tuple[Any, Any, Any]:
        """Parameters, initial state and times as arrays of one dtype."""
        convert = lambda x: jnp.asarray(x, dtype)  # noqa: E731
        return jax.tree.map(convert, (self.params, self.z0, self.ts))

    def solve(self, params: Any, z0: Any, ts: Any, integrator: ode.Integrator) -> ode.Solution:
        """The solution; the series of a batch have common steps."""
        solver = ode.solve if self.batch is None else ode.solve_batch
        return solver(self.field, params, z0, ts, integrator=integrator)

    @property
    def inputs(self) -> int:
        """Number of entries of the gradient."""
        return sum(np.size(x) for x in jax.tree.leaves((self.params, self.z0)))


def circle(stops: int = 64) -> Problem:
    """An affine field near that of circular dynamics (Bath report, section 5.1.1)."""
    drawn = data.circular(stops, key=jax.random.key(0))
    order = np.argsort(np.asarray(drawn.times))
    ts = np.concatenate([np.zeros(1, np.float32), np.asarray(drawn.times)[order]])
    states = np.concatenate([np.array([[1.0, 0.0]]), np.asarray(drawn.states)[order]])
    params = {"A": np.array([[0.1, -0.8], [0.9, -0.1]]), "b": np.zeros(2)}
    return _problem(
        "circle",
        nn.autonomous(nn.affine(2)),
        params,
        np.array([1.0, 0.0]),
        ts,
        _mean_square_from(states),
        fixed_steps=100,
        max_steps=128,
        about=f"affine field on [0, 2 pi]; mean square of the distance at {stops} stop times",
    )


def latent(series: int) -> Problem:
    """The flow of the latent ODE on spirals, without encoder and decoder."""
    network = nn.mlp((4,), (4,), hidden=(20, 20), activation=nn.tanh)
    first, second, third = jax.random.split(jax.random.key(1), 3)
    windows = data.spirals(series, key=first).clean
    return _problem(
        f"latent{series}",
        nn.autonomous(network),
        _stronger(network.init(second)),
        np.asarray(jax.random.normal(third, (series, 4))),
        np.asarray(windows.times[0]),
        _mean_square_from(np.asarray(windows.values)),
        batch=series,
        fixed_steps=100,
        max_steps=128,
        about=f"flow 4-20-20-4 (tanh) of {series} latent states at the spirals' 100 common times, "
        "no encoder or decoder; mean square of the distance of two coordinates from the spirals",
    )


def mlp64(points: int = 21) -> Problem:
    """A neural ODE of 64 dimensions."""
    network = nn.mlp((64,), (64,), hidden=(64,), activation=nn.tanh)
    first, second = jax.random.split(jax.random.key(2))
    return _problem(
        "mlp64",
        nn.autonomous(network),
        _stronger(network.init(first)),
        np.asarray(jax.random.normal(second, (64,))),
        np.linspace(0.0, 2.0, points),
        _mean_square,
        fixed_steps=100,
        max_steps=128,
        about="field 64-64-64 (tanh) on [0, 2]; mean square of the values",
    )


def van_der_pol(stiffness: float = 100.0, end: float = 100.0) -> Problem:
    """Relaxation oscillations, past the first jump from one branch to the other."""

    def field(t, z, params):
        del t
        x, v = z[0], z[1]
        return jnp.stack([v, params["mu"] * (1.0 - x * x) * v - x])

    return _problem(
        "van_der_pol",
        field,
        {"mu": np.array(stiffness)},
        np.array([2.0, 0.0]),
        np.linspace(0.0, end, 21),
        lambda values: jnp.mean(jnp.square(values[:, 0])),
        fixed_steps=math.ceil(1.3 * stiffness * end),
        max_steps=2048,
        stiff=True,
        about=f"mu = {stiffness:g} on [0, {end:g}]; mean square of the position",
    )


def lorenz(end: float = 10.0) -> Problem:
    """Chaos: over 10 units of time distances grow by about e^9."""

    def field(t, z, params):
        del t
        x, y, w = z[0], z[1], z[2]
        return jnp.stack(
            [
                params["sigma"] * (y - x),
                x * (params["rho"] - w) - y,
                x * y - params["beta"] * w,
            ]
        )

    return _problem(
        "lorenz",
        field,
        {"sigma": np.array(10.0), "rho": np.array(28.0), "beta": np.array(8 / 3)},
        np.array([1.0, 1.0, 20.0]),
        np.linspace(0.0, end, 101),
        _mean_square,
        fixed_steps=1000,
        max_steps=1024,
        about=f"sigma 10, rho 28, beta 8/3 on [0, {end:g}]; mean square of the values. Errors grow "
        "by about e^9, which limits float32 whatever the adjoint",
    )


ProblemName = Literal["circle", "latent64", "latent1000", "mlp64", "van_der_pol", "lorenz"]
MAKERS: dict[str, Callable[[], Problem]] = {
    "circle": circle,
    "latent64": lambda: latent(64),
    "latent1000": lambda: latent(1000),
    "mlp64": mlp64,
    "van_der_pol": van_der_pol,
    "lorenz": lorenz,
}


def make(name: str) -> Problem:
    """The problem of that name."""
    if name not in MAKERS:
        raise ValueError(f"problems expected names among {', '.join(MAKERS)}, got {name!r}")
    return MAKERS[name]()


def _problem(name, field, params, z0, ts, loss, *, batch=None, stiff=False, **rest) -> Problem:
    params, z0, ts = jax.tree.map(_exact_in_float32, (params, z0, ts))
    return Problem(name, field, params, z0, ts, loss, batch=batch, stiff=stiff, **rest)


def _exact_in_float32(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32).astype(np.float64)


def _stronger(params: Any) -> Any:
    return jax.tree.map(lambda x: _STRONGER * np.asarray(x), params)


def _mean_square(values: Array) -> Array:
    return jnp.mean(jnp.square(values))


def _mean_square_from(target: np.ndarray) -> Callable[[Array], Array]:
    """The mean squared distance of the first coordinates, as many as the target has."""

    def loss(values: Array) -> Array:
        near = values[..., : target.shape[-1]]
        return jnp.mean(jnp.square(near - jnp.asarray(target, values.dtype)))

    return loss
