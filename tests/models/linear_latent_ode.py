"""A linear latent ODE, whose posterior and evidence have a closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae import map_examples, models, nn, objectives, ode
from jaxvae.distributions import MultivariateNormal
from jaxvae.model import Example
from jaxvae.series import TimeSeries

TIMES = (0.0, 0.3, 0.7, 1.2, 2.0)


A = np.array([[-0.1, 1.0], [-1.0, -0.2]])


C = np.array([[1.0, 0.5], [-0.3, 0.8]])


NOISE = 0.4


EXACT = ode.adaptive(1e-6, 1e-8)


def observed_rows():
    """The matrix from z0 to all observed values, and which are observed."""
    mask = np.ones((len(TIMES), 2), bool)
    mask[1] = False
    mask[3, 0] = False
    flows = [C @ np.asarray(jax.scipy.linalg.expm(A * t)) for t in TIMES]
    return np.concatenate(flows), mask


def series(key):
    rows, mask = observed_rows()
    first, second = jax.random.split(key)
    means = rows @ jax.random.normal(first, (2,))
    values = (means + NOISE * jax.random.normal(second, means.shape)).reshape(mask.shape)
    return TimeSeries(jnp.array(TIMES), jnp.where(mask, values, jnp.nan), jnp.array(mask))


def exact_posterior(inputs):
    """Precision and mean of z0 given the observed values, and their evidence."""
    rows, mask = observed_rows()
    h, x = rows[mask.ravel()], np.asarray(inputs.values)[mask]
    precision = np.eye(2) + h.T @ h / NOISE**2
    mean = np.linalg.solve(precision, h.T @ x) / NOISE**2
    covariance = h @ h.T + NOISE**2 * np.eye(len(x))
    evidence = -0.5 * (
        x @ np.linalg.solve(covariance, x)
        + np.linalg.slogdet(covariance)[1]
        + len(x) * np.log(2 * np.pi)
    )
    return mean, np.linalg.cholesky(np.linalg.inv(precision)), evidence


def constant_encoder(outputs):
    return nn.Network(lambda key: None, lambda params, *inputs: jnp.asarray(outputs))


def exact_family(cholesky):
    def build(params, outputs, latent_dim):
        scale = np.diag(cholesky)
        return MultivariateNormal(outputs, jnp.log(scale), jnp.array([cholesky[1, 0]]))

    return models.PosteriorFamily(lambda d: d, lambda key, d: None, build)


def linear_model(encoder, *, common=False, noise=NOISE, **options):
    return models.latent_ode(
        encoder=encoder,
        dynamics=nn.affine(2),
        decoder=nn.affine(2),
        latent_dim=2,
        channels=2,
        integrator=EXACT,
        likelihood=None if noise is None else models.normal(noise),
        common_times=TIMES if common else None,
        **options,
    )


def true_parameters(model):
    params = model.init(jax.random.key(0))
    zero = jnp.zeros(2)
    learnt = params.generative | {
        "dynamics": {"A": jnp.array(A), "b": zero},
        "decoder": {"A": jnp.array(C), "b": zero},
    }
    return params._replace(generative=learnt)


def random_model(common=False):
    encoder = nn.recurrent_encoder(nn.recurrent(2, 5), 4)
    model = linear_model(encoder, common=common, noise=None)
    return model, true_parameters(model)


def likelihood_of(model, params, z0, grid):
    """The distribution of one series, as one example of a batch."""

    def one(z0, mask):
        return model.likelihood(params, z0, grid._replace(mask=mask))

    alone = jax.jit(partial(map_examples, one))(z0[None], grid.mask[None])
    return jax.tree.map(lambda x: x[0], alone)


def bound(model, params, inputs, grid):
    example = Example(inputs, inputs.values, grid)
    return objectives.elbo(model, params, example, key=jax.random.key(4)).surrogate
