"""A vector for an irregular, partly observed series, made by a recurrence."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxvae import _check
from jaxvae._types import PRNGKey, PyTree, Scalar
from jaxvae.nn.mlp import mlp
from jaxvae.nn.network import Network
from jaxvae.nn.recurrence import Recurrence, gap_to, run


def recurrent_encoder(recurrence: Recurrence, out_dim: int) -> Network:
    """A vector for a series: the rows are read from the last to the first.

    What comes out depends most on the beginning of the series, as the initial state of a latent
    ODE does.

    Args:
        recurrence: what happens between and at the rows.
        out_dim: length of the vector, an affine function of the last features.

    Returns:
        A network: ``apply(parameters, times, values, mask, start=None)``. A start time before the
        first observed row lets the state evolve up to there; None ends at that row.

    Raises:
        ValueError: if ``out_dim`` is not a positive integer; when called, if shapes do not fit.

    Reference: Chen et al. (2018), section 5 and figure 6.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> encoder = nn.recurrent_encoder(nn.recurrent(2, 25), 8)
        >>> times, values, mask = jnp.arange(9.0), jnp.zeros((9, 2)), jnp.ones((9, 2), bool)
        >>> encoder.apply(encoder.init(jax.random.key(0)), times, values, mask).shape
        (8,)
    """
    _check.positive("out_dim of nn.recurrent_encoder", out_dim)
    head = mlp((recurrence.features,), (out_dim,), hidden=())

    def init(key: PRNGKey) -> PyTree:
        first, second = jax.random.split(key)
        return {"recurrence": recurrence.init(first), "head": head.init(second)}

    def apply(
        params: PyTree,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        mask: Bool[Array, "time channel"],
        start: Scalar | float | None = None,
    ) -> Float[Array, " out"]:
        rows = times[::-1], values[::-1], mask[::-1]
        features = _features_at(recurrence, params["recurrence"], rows, start)
        return head.apply(params["head"], features)

    return Network(init, apply)


def two_sided_encoder(recurrence: Recurrence, out_dim: int) -> Network:
    """A vector for a series about a time within it: both sides are read towards that time.

    One recurrence reads the rows from the last one back to the start, another one, with parameters
    of its own, those before the start in their order. What comes out depends most on the rows
    about the start, which may lie anywhere in the series, or outside it.

    Args:
        recurrence: what happens between and at the rows, on either side.
        out_dim: length of the vector, an affine function of the last features of both sides.

    Returns:
        A network: ``apply(parameters, times, values, mask, start)`` with rising times.

    Raises:
        ValueError: if ``out_dim`` is not a positive integer; when called, if shapes do not fit.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxvae import nn
        >>> encoder = nn.two_sided_encoder(nn.recurrent(2, 25, cell=nn.gru_cell), 8)
        >>> times, values, mask = jnp.arange(9.0), jnp.zeros((9, 2)), jnp.ones((9, 2), bool)
        >>> encoder.apply(encoder.init(jax.random.key(0)), times, values, mask, 4.5).shape
        (8,)
    """
    _check.positive("out_dim of nn.two_sided_encoder", out_dim)
    head = mlp((2 * recurrence.features,), (out_dim,), hidden=())

    def init(key: PRNGKey) -> PyTree:
        before, after, last = jax.random.split(key, 3)
        return {
            "before": recurrence.init(before),
            "after": recurrence.init(after),
            "head": head.init(last),
        }

    def apply(
        params: PyTree,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        mask: Bool[Array, "time channel"],
        start: Scalar | float,
    ) -> Float[Array, " out"]:
        _check.event_shape(
            "the values of a series", (*times.shape, recurrence.channels), values.shape
        )
        is_before = (times < start)[:, None]
        before = times, values, mask & is_before
        after = times[::-1], values[::-1], (mask & ~is_before)[::-1]
        features = [
            _features_at(recurrence, params[side], rows, start)
            for side, rows in (("before", before), ("after", after))
        ]
        return head.apply(params["head"], jnp.concatenate(features))

    return Network(init, apply)


def _features_at(
    recurrence: Recurrence, params: PyTree, rows: tuple[Array, ...], start: Scalar | float | None
) -> Float[Array, " features"]:
    """The features of the rows, in the order given, when the start has come."""
    times, _, mask = rows
    state, _ = run(recurrence, params, *rows)
    gap = jnp.zeros((), times.dtype)
    if start is not None:
        gap = gap_to(jnp.asarray(start, times.dtype), times, jnp.any(mask, axis=1))
    return recurrence.read(recurrence.evolve(params, state, gap))
