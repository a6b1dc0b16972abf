"""Kullback-Leibler divergences between discrete distributions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.distributions.composition._log_gamma import excess
from jaxvae.distributions.discrete.bernoulli import Bernoulli
from jaxvae.distributions.discrete.categorical import Categorical
from jaxvae.distributions.discrete.poisson import Poisson
from jaxvae.distributions.numerics.saddle import within_range


def _bernoulli_bernoulli(q: Bernoulli, p: Bernoulli) -> Array:
    r"""$\phi\log\frac{\phi}{\psi} + (1 - \phi)\log\frac{1 - \phi}{1 - \psi}$, from logits."""
    success = jax.nn.log_sigmoid(q.logits) - jax.nn.log_sigmoid(p.logits)
    failure = jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(-p.logits)
    return jax.nn.sigmoid(q.logits) * success + jax.nn.sigmoid(-q.logits) * failure


def _categorical_categorical(q: Categorical, p: Categorical) -> Array:
    r"""$\sum_k \pi_k\log\frac{\pi_k}{\rho_k}$, one number for each independent factor."""
    return jnp.sum(q.mean * (q.log_probs - p.log_probs), axis=-1)


def _poisson_poisson(q: Poisson, p: Poisson) -> Array:
    r"""$\lambda\log\frac\lambda\mu + \mu - \lambda = \lambda\,e(\log\frac\mu\lambda)$.

    $e(\delta) = e^\delta - 1 - \delta$ is never negative. Kullback (1959), Information theory and
    statistics, chapter 4.
    """
    log_rate, other = within_range(q.log_rate), within_range(p.log_rate)
    return jnp.exp(log_rate) * excess(other - log_rate)


CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    (Bernoulli, Bernoulli): _bernoulli_bernoulli,
    (Categorical, Categorical): _categorical_categorical,
    (Poisson, Poisson): _poisson_poisson,
}
