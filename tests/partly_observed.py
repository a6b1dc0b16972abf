"""One irregular series of which rows and channels are missing, and what must not change it."""

import jax.numpy as jnp
import numpy as np

from jaxvae.series import TimeSeries

_TIMES = np.array([-0.4, 0.1, 0.35, 1.1, 1.15, 2.6, 3.0], np.float32)
_MASK = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 1]], bool)
_VALUES = np.random.default_rng(0).normal(size=_MASK.shape).astype(np.float32)


def series(full=False):
    mask = np.ones_like(_MASK) if full else _MASK
    return TimeSeries(jnp.array(_TIMES), jnp.array(np.where(mask, _VALUES, 0)), jnp.array(mask))


def same_observations():
    """The series, written down in other ways of as many rows."""
    times, values, mask = map(np.asarray, series())
    seen = mask.any(axis=1)
    few = times[seen], values[seen], mask[seen]
    rewritten = {
        "padding for empty rows": [
            np.pad(x, [(0, 2), (0, 0)][: x.ndim], mode=mode)
            for x, mode in zip(few, ("edge", "constant", "constant"), strict=True)
        ],
        "an empty row before and one after": [
            np.pad(x, [(1, 1), (0, 0)][: x.ndim], constant_values=with_what)
            for x, with_what in zip(few, (((-5.0, 9.0),), 0, False), strict=True)
        ],
        "NaN where nothing was seen": [times, np.where(mask, values, np.nan), mask],
    }
    return {name: TimeSeries(*map(jnp.asarray, arrays)) for name, arrays in rewritten.items()}
