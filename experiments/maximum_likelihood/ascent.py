"""A Normal fitted by gradient ascent: the Bath report, sections 2.1, 2.2 and 3.3."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

import jaxvae
from jaxvae import plotting
from jaxvae.distributions import Normal, kl_divergence


@dataclass(frozen=True)
class Sampling:
    """Figures 1 and 2: samples of a Normal, and gradient ascent of their log-likelihood."""

    samples: int = 1000
    """Number of samples."""
    loc: float = 0.5
    """True mean."""
    scale: float = 0.1
    """Standard deviation, which is known."""
    candidates: tuple[float, ...] = (0.4, 0.5, 0.6)
    """Values of theta that figure 1 compares."""
    start: float = 0.2
    """Value of theta at which gradient ascent begins."""
    rates: tuple[float, ...] = (0.4, 1.0, 1.7, 2.1)
    """Learning rates in units of the optimal one; the estimate is reported for the first."""
    ascent_steps: int = 40
    """Steps of gradient ascent with each learning rate."""


class Ascent(NamedTuple):
    """Gradient ascent of the likelihood of each seed's samples with each learning rate.

    Attributes:
        samples: (seeds, samples).
        paths: theta at the start and after each step, (seeds, rates, steps + 1).
        factors: by which a step multiplies the distance from the maximum, (seeds, rates).
    """

    samples: Array
    paths: np.ndarray
    factors: np.ndarray


def model(theta: Array, scale: float) -> Normal:
    """The distribution p_theta of one sample."""
    return Normal(theta, jnp.full_like(theta, np.log(scale)))


def mean_log_likelihood(theta: Array, samples: Array, scale: float) -> Array:
    """Mean log-likelihood of samples, in nats per sample."""
    return jnp.mean(jax.vmap(model(theta, scale).log_prob)(samples))


def ascend(options: Sampling, keys: Array) -> Ascent:
    """Ascend with all learning rates and for all seeds in one compiled run."""
    truth = model(jnp.asarray(options.loc), options.scale)
    many = jax.vmap(lambda key: jax.vmap(truth.sample)(jax.random.split(key, options.samples)))
    samples = jax.jit(many)(keys)
    seeds, rates = len(keys), np.asarray(options.rates) * options.scale**2
    paths = [np.full(seeds * len(rates), options.start)]

    def loss(theta, example, *, key, settings):
        del key
        value = model(theta, options.scale).log_prob(example.target[settings])
        return jaxvae.Estimate(surrogate=value, bound=value, parts={})

    jaxvae.fit(
        loss,
        lambda key: jnp.asarray(options.start),
        samples.T,
        key=jax.random.split(jax.random.key(0), len(paths[0])),
        num_steps=options.ascent_steps,
        batch_size=options.samples,
        hyperparameters={
            "rate": jnp.asarray(np.tile(rates, seeds), jnp.float32),
            "data": jnp.repeat(jnp.arange(seeds), len(rates)),
        },
        optimiser=lambda hyper: optax.sgd(hyper["rate"]),
        settings=lambda step, hyper: hyper["data"],
        log_every=1,
        callbacks=[lambda state, record: paths.append(np.asarray(state.params, float))],
        progress=False,
    )
    path = np.stack(paths, axis=-1).reshape(seeds, len(rates), -1)
    distance = path - np.asarray(jnp.mean(samples, axis=1), float)[:, None, None]
    # Regression of each distance on the previous one: small distances are only rounding errors.
    factors = (distance[..., 1:] * distance[..., :-1]).sum(-1) / (distance[..., :-1] ** 2).sum(-1)
    return Ascent(samples, path, factors)


def metrics(options: Sampling, ascent: Ascent) -> dict[str, Any]:
    """The estimate, the factors, and the likelihoods and divergences of figure 1."""
    at = jax.jit(jax.vmap(partial(mean_log_likelihood, scale=options.scale), (None, 0)))
    truth = model(jnp.asarray(options.loc), options.scale)
    found, mean = ascent.paths[:, 0, -1], np.asarray(jnp.mean(ascent.samples, axis=1), float)
    report: dict[str, Any] = {
        "maximum_likelihood_estimate": found,
        "distance_from_sample_mean": np.abs(found - mean),
        "standard_error": options.scale / options.samples**0.5,
    }
    for theta in options.candidates:
        candidate = jnp.asarray(theta)
        report[f"log_likelihood_nats_at_{theta:g}"] = at(candidate, ascent.samples)
        report[f"kl_nats_at_{theta:g}"] = kl_divergence(truth, model(candidate, options.scale))
    for number, rate in enumerate(options.rates):
        report[f"contraction_at_{rate:g}_optimal_rates"] = ascent.factors[:, number]
        report[f"contraction_at_{rate:g}_optimal_rates_theory"] = 1 - rate
    return report


def regime(rate: float) -> str:
    """The regime of a learning rate, which is given in units of the optimal one."""
    if rate == 1:
        return "one step"
    return "monotone" if rate < 1 else "oscillates" if rate < 2 else "diverges"


def pictures(options: Sampling, ascent: Ascent) -> dict[str, Figure]:
    """Figures 1 and 2 and the likelihood as a function of theta, for the first seed."""
    samples, best = ascent.samples[0], jnp.mean(ascent.samples[0])
    width = 1.2 * max(abs(options.start - options.loc), 3.5 * options.scale)
    grid = jnp.linspace(options.loc - width, options.loc + width, 241)
    height = partial(mean_log_likelihood, samples=samples, scale=options.scale)

    @jax.jit
    def density(theta: Array) -> Array:
        return jnp.exp(jax.vmap(model(theta, options.scale).log_prob)(grid))

    @jax.jit
    @jax.vmap
    def below_maximum(theta: Array) -> Array:
        own = partial(model, scale=options.scale)
        return height(best) - kl_divergence(own(best), own(theta))

    potential = jax.jit(jax.vmap(lambda theta: -height(theta)))
    paths = [jnp.asarray(path, jnp.float32) for path in ascent.paths[0]]
    rates = [
        rf"$\eta = {rate:g}\,\eta_{{\mathrm{{opt}}}}$: {regime(rate)}" for rate in options.rates
    ]
    factors = [f"{factor:+.3f}" for factor in ascent.factors[0]]
    theories = [f"{1 - rate:+.3f}" for rate in options.rates]
    found = zip(rates, factors, theories, strict=True)
    models = {f"θ = {theta:g}": density(jnp.asarray(theta)) for theta in options.candidates}
    return {
        "figure_1": plotting.density_fits(samples, grid, models),
        "likelihood": plotting.objective_curve(
            grid,
            {
                "mean log-likelihood": -potential(grid),
                r"its maximum minus $KL(p_{\theta^*} \| p_\theta)$": below_maximum(grid),
            },
            marked={"gradient ascent": float(ascent.paths[0, 0, -1]), "sample mean": float(best)},
            labels=("θ", "nats per sample"),
        ),
        "figure_2": plotting.descent_paths(
            grid,
            potential(grid),
            paths,
            [potential(path) for path in paths],
            [f"{rate}\nfactor a step {factor}, theory {theory}" for rate, factor, theory in found],
            labels=("θ", r"$-\log p_\theta(x)$, mean in nats"),
        ),
    }
