"""What spirals allow of a forecast that knows the curves: Bayes' rule on where a window lies."""

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae
from experiments.spiral_forecasters import BEYOND, SPACING, WINDOW
from jaxvae import data
from jaxvae.distributions import Masked, Normal

STARTS = range(100, 400)
"""Of the windows that series are cut from, each as likely as any other in either direction."""


def exact_forecast(series: jaxvae.TimeSeries, noise: float) -> Array:
    r"""The expectation of the points before, in and after a window, shape (point, 2).

    $$E[x^*_j] = \frac{\sum_{c,s} w_{cs}\, \mu_c(s + j)}{\sum_{c,s} w_{cs}}, \quad
      w_{cs} = \prod_i N(x_i;\, \mu_c(s + i), \sigma^2)$$

    over both curves $\mu_c$ and all starts s from which point j exists; NaN where none of them has
    weight.

    Args:
        series: what is observed of one window.
        noise: $\sigma$.
    """
    curves, starts = data.spiral_curves(), jnp.array(STARTS)
    places = jnp.round(series.times / SPACING).astype(int)
    values, mask = jnp.asarray(series.values), jnp.asarray(series.mask)
    law = Masked(Normal(values, jnp.full_like(values, jnp.log(noise))), mask)
    means = curves[:, starts[:, None] + places[None]]
    weights = jax.nn.softmax(jax.vmap(jax.vmap(law.log_prob))(means), axis=(0, 1))
    about = starts[:, None] + jnp.arange(-BEYOND, WINDOW + BEYOND)[None]
    exists = (about >= 0) & (about < curves.shape[1])
    shares = jnp.where(exists, weights[:, :, None], 0.0)
    points = curves[:, jnp.clip(about, 0, curves.shape[1] - 1)]
    return jnp.einsum("csp,cspd->pd", shares, points) / jnp.sum(shares, axis=(0, 1))[:, None]
