"""A linear-Gaussian model, of which everything is known in closed form."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxvae import Example, LatentVariableModel, Params
from jaxvae.distributions import Normal

OBSERVED, LATENT = 5, 2


class Exact(NamedTuple):
    """x = W z + b + sigma e with orthogonal columns of W, so that the posterior is diagonal."""

    loadings: np.ndarray
    offset: np.ndarray
    log_sigma: float

    def evidence(self, x) -> np.ndarray:
        covariance = self.loadings @ self.loadings.T + np.exp(2 * self.log_sigma) * np.eye(OBSERVED)
        shift = np.asarray(x, np.float64) - self.offset
        quadratic = np.einsum("...i,ij,...j", shift, np.linalg.inv(covariance), shift)
        _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
        return -0.5 * (quadratic + log_determinant)

    def posterior_map(self) -> tuple[np.ndarray, np.ndarray]:
        """The matrix from x - b to the posterior mean, and the log of its standard deviations."""
        noise = np.exp(2 * self.log_sigma)
        precision = np.sum(self.loadings**2, axis=0) / noise + 1.0
        return (self.loadings / noise / precision).T, -0.5 * np.log(precision)


def exact() -> Exact:
    generator = np.random.default_rng(0)
    columns, _ = np.linalg.qr(generator.normal(size=(OBSERVED, LATENT)))
    return Exact(columns * np.array([2.0, 0.7]), generator.normal(size=OBSERVED), np.log(0.5))


def model(posterior_shift: float = 0.0, posterior_stretch: float = 0.0) -> LatentVariableModel:
    """The model with its exact posterior, or with one moved and stretched (in log-scale)."""
    truth = exact()
    weights, log_scales = truth.posterior_map()
    weights, log_scales, loadings, offset = (
        jnp.asarray(a, jnp.float32) for a in (weights, log_scales, truth.loadings, truth.offset)
    )

    def likelihood(params, z, context):
        return Normal(loadings @ z + offset, jnp.full(OBSERVED, truth.log_sigma, jnp.float32))

    def posterior(params, x, context):
        return Normal(weights @ (x - offset) + posterior_shift, log_scales + posterior_stretch)

    return LatentVariableModel(
        init=lambda key: Params(jnp.zeros(1), jnp.zeros(1)),
        prior=lambda params, context: Normal.standard((LATENT,)),
        likelihood=likelihood,
        posterior=posterior,
    )


def examples(number: int) -> Example:
    truth = exact()
    generator = np.random.default_rng(1)
    latents = generator.normal(size=(number, LATENT))
    noise = np.exp(truth.log_sigma) * generator.normal(size=(number, OBSERVED))
    x = jnp.asarray(latents @ truth.loadings.T + truth.offset + noise, jnp.float32)
    return Example(inputs=x, target=x)
