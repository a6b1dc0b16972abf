"""Kullback-Leibler divergences: closed forms by pair of families, and Monte Carlo for any pair."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxvae import _check
from jaxvae._types import PRNGKey, Scalar
from jaxvae.distributions.base import Distribution
from jaxvae.distributions.discrete.bernoulli import Bernoulli
from jaxvae.distributions.discrete.categorical import Categorical
from jaxvae.distributions.location_scale.normal import Normal


def _normal_normal(q: Normal, p: Normal) -> Array:
    r"""$\log(\sigma_p/\sigma_q) + (\sigma_q^2 + (\mu_q - \mu_p)^2)/(2\sigma_p^2) - 1/2$.

    Thesis draft, eq. 4.13; with p = N(0, I) it is exercise 12, task 2b.
    """
    log_ratio = q.log_scale - p.log_scale
    shift = (q.loc - p.loc) * jnp.exp(-p.log_scale)
    return 0.5 * (jnp.expm1(2.0 * log_ratio) + shift * shift) - log_ratio


def _bernoulli_bernoulli(q: Bernoulli, p: Bernoulli) -> Array:
    r"""$\phi\log\frac{\phi}{\psi} + (1 - \phi)\log\frac{1 - \phi}{1 - \psi}$, from logits."""
    success = jax.nn.log_sigmoid(q.logits) - jax.nn.log_sigmoid(p.logits)
    failure = jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(-p.logits)
    return jax.nn.sigmoid(q.logits) * success + jax.nn.sigmoid(-q.logits) * failure


def _categorical_categorical(q: Categorical, p: Categorical) -> Array:
    r"""$\sum_k \pi_k\log\frac{\pi_k}{\rho_k}$, one number for each independent factor."""
    return jnp.sum(q.mean * (q.log_probs - p.log_probs), axis=-1)


_CLOSED_FORMS: dict[tuple[type, type], Callable[..., Array]] = {
    (Normal, Normal): _normal_normal,
    (Bernoulli, Bernoulli): _bernoulli_bernoulli,
    (Categorical, Categorical): _categorical_categorical,
}


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether ``kl_divergence(q, p)`` exists."""
    return (type(q), type(p)) in _CLOSED_FORMS


def kl_by_factor(q: Distribution, p: Distribution) -> Float[Array, "*factors"]:
    """KL(q || p) in nats for each independent factor of the event; they add up to the divergence.

    Args:
        q: the distribution that the expectation is taken under.
        p: the distribution that is compared with it, over the same events.

    Returns:
        For Normal and Bernoulli the event's shape, for Categorical the shape without categories.

    Raises:
        ValueError: if the pair has no closed form, or the event shapes differ.
    """
    closed_form = _CLOSED_FORMS.get((type(q), type(p)))
    if closed_form is None:
        pairs = ", ".join(f"{a.__name__}||{b.__name__}" for a, b in _CLOSED_FORMS)
        raise ValueError(
            f"KL({type(q).__name__} || {type(p).__name__}) has no closed form here; those that "
            f"exist are {pairs}. Use kl_monte_carlo, or kl=objectives.monte_carlo in a bound"
        )
    _check.event_shape("kl_divergence", q.event_shape, p.event_shape)
    return closed_form(q, p)


def kl_divergence(q: Distribution, p: Distribution) -> Scalar:
    r"""Closed-form $KL(q \| p) = E_q[\log q - \log p]$ in nats.

    Args:
        q: the distribution that the expectation is taken under.
        p: the distribution that is compared with it, over the same events.

    Raises:
        ValueError: if the pair has no closed form, or the event shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxvae.distributions import Normal, kl_divergence
        >>> float(kl_divergence(Normal(jnp.ones(2), jnp.zeros(2)), Normal.standard((2,))))
        1.0
    """
    return jnp.sum(kl_by_factor(q, p))


def kl_monte_carlo(q: Distribution, p: Distribution, *, key: PRNGKey, num_samples: int) -> Scalar:
    r"""Unbiased estimate $\frac1L\sum_l \log q(z_l) - \log p(z_l)$, $z_l \sim q$, in nats.

    Args:
        q: the distribution that is sampled.
        p: the distribution that is compared with it.
        key: consumed once.
        num_samples: L.
    """
    _check.positive("num_samples", num_samples)

    def log_ratio(key):
        value, log_q = q.sample_and_log_prob(key)
        return log_q - p.log_prob(value)

    return jnp.mean(jax.vmap(log_ratio)(jax.random.split(key, num_samples)))
